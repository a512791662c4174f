"""Settings of this host that block overlay traffic and that routerd may not change.

routerd changes its own objects and those that the file names; the rest of the host has another
owner, who may have reasons. So status and log name these settings, and routerd leaves them alone.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import attrs

from routerd.errors import ProviderError
from routerd.kernel.reverse_path import StrictLink, strict_links
from routerd.model.names import LinkName
from routerd.reconcile.desired import Desired
from routerd.spi import Kernel

_LOOPBACK = "lo"
_FORWARD = "net.ipv4.ip_forward"


class Filters(Protocol):
    """The packet filters, as their table knows them."""

    @property
    def closed(self) -> tuple[str, ...]:
        """Return the chains that drop by policy and that routerd does not open."""

    @property
    def unread(self) -> tuple[str, ...]:
        """Return foreign lines that routerd cannot read, each with its place."""


@attrs.frozen(kw_only=True)
class Obstacle:
    """An obstacle in words, and its device if it has one."""

    text: str
    link: LinkName | None = None


class Obstacles:
    """Finds obstacles; changes nothing."""

    def __init__(self, kernel: Kernel, filters: Filters, *, root: Path = Path("/proc/sys")) -> None:
        self._kernel = kernel
        self._filters = filters
        self._root = root

    async def find(self, desired: Desired) -> tuple[Obstacle, ...]:
        """Return the obstacles of the desired tunnels; nothing where no tunnel is desired."""
        if not any(table.values for name, table in desired.tables.items() if name.startswith("tunnels/")):
            return ()
        found = [*await self._strict(), *self._closed()]
        if await asyncio.to_thread(self._forwards_nothing, desired):
            found.append(
                Obstacle(
                    text=f"this host: {_FORWARD} is 0; it does not forward between tunnels and other devices;"
                    " add a SysctlProfile with profile router-linux"
                )
            )
        return tuple(found)

    async def _strict(self) -> list[Obstacle]:
        strict = await asyncio.to_thread(lambda: list(strict_links(self._root)))
        if not any(each.link != _LOOPBACK for each in strict):
            return []
        try:
            links = await self._kernel.links()
        except ProviderError:
            return []  # the tables need the same answer and report that there is none
        return [
            Obstacle(text=_text(each), link=each.link)
            for each in strict
            if (link := links.get(each.link)) is not None
            and link.name != _LOOPBACK
            and link.up
            # A device without an address is a port of another device, or has no traffic.
            and (link.addresses or link.owner is not None)
        ]

    def _closed(self) -> Iterator[Obstacle]:
        for chain in self._filters.closed:
            yield Obstacle(
                text=f"{chain}: has policy drop and no rule for tunnel traffic; routerd opens input and"
                " forward chains only; add a rule there"
            )
        for line in self._filters.unread:
            text = f"{line}: routerd cannot read this rule; if it drops packets, nothing opens it for tunnels"
            yield Obstacle(text=text)

    def _forwards_nothing(self, desired: Desired) -> bool:
        if _FORWARD in desired.table("sysctls").values:
            return False
        try:
            return (self._root / "net/ipv4/ip_forward").read_text().strip() == "0"
        except OSError:
            return False


def _text(strict: StrictLink) -> str:
    why = f"{strict.setting} is 1{', which makes every device strict' if strict.by_all else ''}"
    return (
        f"{strict.link}: reverse path filtering is strict ({why}); the kernel drops packets that arrive here"
        " from an address behind another device; to make it loose, add a Sysctl"
        f' with key net.ipv4.conf.{strict.link}.rp_filter and value "2"'
    )
