"""The shipped plugins under other names: distributions of their own, as far as the core can tell.

`test_lab_renamed.py` writes the entry points. What a transport calls its mode is part of each tunnel, so
those of a renamed one are translated on their way in and out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from routerd.errors import ProviderError
from routerd.model.change import Change
from routerd.model.tunnel import Tunnel
from routerd.spi import PluginContext, TransportMode

NAMES = {"ipip": "tube", "wireguard": "armour", "bgp": "paths", "token": "password"}
"""By the name of a shipped transport, routing or join method: the other one."""


def renamed_transport(mode: TransportMode) -> TransportMode:
    """Return a transport that is the same under another name."""

    def create(context: PluginContext, options: object) -> Any:
        return _Transport(mode.create(context, options), mode.kind, NAMES[mode.kind])

    return attrs.evolve(mode, kind=NAMES[mode.kind], create=create)


class _Transport:
    def __init__(self, made: Any, original: str, name: str) -> None:
        self._made, self._original = made, original
        self.tunnels = _Tunnels(made.tunnels, original, name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._made, name)

    def overhead(self, tunnel: Tunnel) -> int:
        return int(self._made.overhead(attrs.evolve(tunnel, mode=self._original)))

    def openings(self, tunnel: Tunnel) -> Any:
        return self._made.openings(attrs.evolve(tunnel, mode=self._original))


class _Tunnels:
    def __init__(self, made: Any, original: str, name: str) -> None:
        self._made, self._original, self._name = made, original, name

    async def observe(self) -> Mapping[Any, Tunnel]:
        return {
            key: attrs.evolve(each, mode=self._name) for key, each in (await self._made.observe()).items()
        }

    async def apply(self, changes: Sequence[Change[Any, Tunnel]]) -> Mapping[Any, ProviderError]:
        found: Mapping[Any, ProviderError] = await self._made.apply(
            [
                attrs.evolve(each, before=self._back(each.before), after=self._back(each.after))
                for each in changes
            ]
        )
        return found

    def _back(self, tunnel: Tunnel | None) -> Tunnel | None:
        return None if tunnel is None else attrs.evolve(tunnel, mode=self._original)
