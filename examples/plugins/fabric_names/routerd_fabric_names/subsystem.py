"""The provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from routerd.model.json_value import JSONValue
from routerd.model.subsystem import SubsystemState
from routerd.spi import ControlRoute, NoOptions, PluginContext
from routerd_fabric_names.hosts import HostsLines


class Names:
    """Implements `spi.Subsystem`."""

    def __init__(self, context: PluginContext, options: NoOptions) -> None:
        self.lines = HostsLines(context)

    async def start(self) -> None:
        """Do nothing: files need no connection."""

    async def aclose(self) -> None:
        """Do nothing: the files stay, for the name server."""

    async def states(self) -> Sequence[SubsystemState]:
        """Return the number of names in each file."""
        lines = await self.lines.observe()
        return [
            SubsystemState(name=str(file), text=f"{sum(line.file == file for line in lines)} names")
            for file in self.lines.files()
        ]

    def control_routes(self) -> Sequence[ControlRoute]:
        """Return the one question: the addresses of a name."""
        return [ControlRoute(method="GET", path="lookup", handler=self._lookup)]

    async def _lookup(self, request: Mapping[str, JSONValue]) -> JSONValue:
        lines = await self.lines.observe()
        return {line.name: list(each) for line, each in lines.items() if line.name == request.get("name")}
