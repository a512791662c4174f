"""The enabled plugins; `PluginHost` is the only way to them.

Only plugins on the allow-list are imported, so that installing a distribution never changes what
runs as root. Each plugin's hooks are called separately, so that a failure names its plugin and
silences no other.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from routerd.errors import PluginError
from routerd.model.resource import ResourceKind
from routerd.plugins.conflicts import PluginFault, conflicts
from routerd.plugins.installed import find, installation
from routerd.plugins.loading import LoadedPlugin, load
from routerd.spi import Capability, Fabric, JoinMethod, Provider, Routing, SubsystemType, TransportMode


class PluginHost:
    """The enabled plugins."""

    def __init__(self, plugins: Sequence[LoadedPlugin], *, warnings: Sequence[str] = ()) -> None:
        self.plugins = tuple(plugins)
        self.warnings = tuple(warnings)

    @classmethod
    def load(cls, names: Sequence[str]) -> "PluginHost":
        """Import and question the plugins `names`, or raise one `PluginError` that names every fault."""
        host, faults = cls.attempt(names)
        if faults:
            raise PluginError("\n".join(fault.text for fault in faults))
        return host

    @classmethod
    def attempt(cls, names: Sequence[str]) -> tuple["PluginHost", tuple[PluginFault, ...]]:
        """Import and question the plugins `names`; return those that can be used, and every fault."""
        found = installation()
        repeated = sorted({name for name in names if names.count(name) > 1})
        faults = [PluginFault(name, f"plugin {name}: listed twice; remove one") for name in repeated]
        loaded: list[LoadedPlugin] = []
        for name in dict.fromkeys(names):
            try:
                loaded.append(load(find(name, found.plugins)))
            except PluginError as error:
                faults.append(PluginFault(name, str(error)))
        faults += conflicts(loaded)
        if any(name not in found.plugins for name in names):
            faults += [PluginFault("", text) for text in found.warnings]
        return cls(loaded, warnings=found.warnings), tuple(faults)

    def _described(self, family: str) -> Iterable[tuple[LoadedPlugin, Any]]:
        # Any: the families differ in the type of their providers; the typed methods below narrow it.
        for plugin in self.plugins:
            for provider in getattr(plugin, family):
                yield plugin, provider

    def transports(self) -> dict[str, tuple[LoadedPlugin, TransportMode]]:
        """Return the transports by mode."""
        return {provider.kind: (plugin, provider) for plugin, provider in self._described("transports")}

    def routings(self) -> dict[str, tuple[LoadedPlugin, Provider[Routing]]]:
        """Return the routing providers by kind."""
        return {provider.kind: (plugin, provider) for plugin, provider in self._described("routings")}

    def speaking_bgp(self) -> list[str]:
        """Return the kinds of the enabled routings that speak BGP; more than one is a fault of the file."""
        return [kind for kind, (_, each) in self.routings().items() if Capability.BGP in each.capabilities]

    def enrollments(self) -> dict[str, tuple[LoadedPlugin, JoinMethod]]:
        """Return the join methods by kind."""
        return {provider.kind: (plugin, provider) for plugin, provider in self._described("enrollments")}

    def fabrics(self) -> dict[str, tuple[LoadedPlugin, Provider[Fabric]]]:
        """Return the fabric providers by cloud."""
        return {provider.kind: (plugin, provider) for plugin, provider in self._described("fabrics")}

    def subsystems(self) -> dict[str, tuple[LoadedPlugin, SubsystemType]]:
        """Return the subsystems by kind."""
        return {provider.kind: (plugin, provider) for plugin, provider in self._described("subsystems")}

    def resource_kinds(self) -> tuple[ResourceKind, ...]:
        """Return the kinds of resource that subsystems add."""
        return tuple(kind for _, kind in self._described("resource_kinds"))


def packages(plugins: Iterable[LoadedPlugin]) -> dict[str, str]:
    """Return the plugin of each top-level package, by which code on a stack is recognised as a plugin's."""
    return {each.installed.entry_point.module.partition(".")[0]: each.info.name for each in plugins}
