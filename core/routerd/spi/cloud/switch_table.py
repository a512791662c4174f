"""The forwarding switch of each of our NICs as a table, for every cloud that has one.

A cloud says how it reads a switch and how it writes one; this table compares, retries a write that
met another writer, and refuses foreign NICs and dry runs.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from routerd.errors import NotOwnedError, ProviderError, StaleError
from routerd.model.change import Change
from routerd.model.fabric import Forwarding, NicRef
from routerd.spi.context import PluginContext
from routerd.spi.table import apply_each

ATTEMPTS = 5
"""Read-and-write rounds before routerd gives a switch up to the loop, when others write in between."""


class Seen(Protocol):
    """A NIC as a cloud shows it."""

    @property
    def forwarding(self) -> bool:
        """Return whether it lets packets pass that are neither from nor to its own address."""


S = TypeVar("S", bound=Seen)


class Switches(Protocol[S]):
    """How one cloud reads and writes the switches of our NICs."""

    async def own(self) -> Sequence[NicRef]:
        """Return our NICs that have a switch."""

    async def read(self, nics: Sequence[NicRef]) -> Mapping[NicRef, S]:
        """Return NICs of ours as the cloud shows them now."""

    async def write(self, nic: NicRef, seen: S, enabled: bool) -> None:
        """Set the switch of `nic`; `StaleError` when it has changed since it was `seen`."""


class SwitchTable(Generic[S]):
    """Implements `spi.Table`: reads one switch, writes it if it differs, and never deletes one.

    Added in 1.0.
    """

    def __init__(self, ctx: PluginContext, switches: Switches[S]) -> None:
        self._ctx = ctx
        self._switches = switches

    async def observe(self) -> Mapping[NicRef, Forwarding]:
        """Return the switch of each of our NICs."""
        seen = await self._switches.read(await self._switches.own())
        return {nic: Forwarding(enabled=each.forwarding) for nic, each in seen.items()}

    async def apply(self, changes: Sequence[Change[NicRef, Forwarding]]) -> Mapping[NicRef, ProviderError]:
        """Set switches one by one; a deletion leaves its switch alone."""
        return await apply_each(changes, self._make)

    async def _make(self, change: Change[NicRef, Forwarding]) -> None:
        if change.after is None:
            return
        self._ctx.refuse_dry_run()
        nic, enabled = change.key, change.after.enabled
        own: Collection[NicRef] = await self._switches.own()
        if nic not in own:
            raise NotOwnedError(f"interface {nic}: does not belong to this instance")
        for attempt in range(ATTEMPTS):
            seen = (await self._switches.read([nic]))[nic]
            if seen.forwarding == enabled:
                return
            try:
                await self._switches.write(nic, seen, enabled)
            except StaleError:
                if attempt == ATTEMPTS - 1:
                    raise
            else:
                self._ctx.log.info("forwarding.set", nic=nic, enabled=enabled)
                return
