"""Settings of this host that block overlay traffic and that routerd may not change.

routerd changes its own objects and those that the file names; the rest of the host has another
owner, who may have reasons. So status and log name these settings, and routerd leaves them alone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol

import attrs

from routerd.errors import PluginError, ProviderError
from routerd.kernel.reverse_path import StrictLink, strict_links
from routerd.kernel.routes.lookup import RouteAnswer, lookups
from routerd.model.addresses import IPAddress
from routerd.model.names import LinkName
from routerd.model.tunnel import Tunnel
from routerd.reconcile.derive.inputs import Mode
from routerd.reconcile.desired import Desired
from routerd.spi import Kernel, Link

_LOOPBACK = "lo"
_FORWARD = "net.ipv4.ip_forward"
MOST_LOOKUPS = 16
"""Far ends whose route is asked for; those of a large fabric mostly share a device."""


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

    def __init__(
        self,
        kernel: Kernel,
        filters: Filters,
        *,
        modes: Mapping[str, Mode],
        routes_to: Callable[[Sequence[IPAddress]], Awaitable[Sequence[RouteAnswer]]] = lookups,
        root: Path = Path("/proc/sys"),
    ) -> None:
        self._kernel = kernel
        self._filters = filters
        self._modes = modes
        self._routes_to = routes_to
        self._root = root

    async def find(self, desired: Desired) -> tuple[Obstacle, ...]:
        """Return the obstacles of the desired tunnels; nothing where no tunnel is desired."""
        if not any(table.values for name, table in desired.tables.items() if name.startswith("tunnels/")):
            return ()
        found = [*await self._strict(), *self._closed(), *await self._too_large(desired)]
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

    async def _too_large(self, desired: Desired) -> list[Obstacle]:
        """Return the tunnels whose full packets do not fit the device that the kernel sends them by."""
        found: dict[LinkName, Obstacle] = {}
        ends = list(islice(_far_ends(desired), MOST_LOOKUPS))
        if not ends:
            return []
        try:
            links = await self._kernel.links()
            answers = await self._routes_to([far_end for _, far_end in ends])
            for (tunnel, far_end), answer in zip(ends, answers, strict=True):
                needs = tunnel.mtu + self._modes[tunnel.mode].overhead(tunnel)
                for hop in answer.next_hops:
                    below = links.get(hop.link) if hop.link is not None else None
                    if answer.kind == "unicast" and below is not None and below.mtu < needs:
                        text = _too_large(tunnel, far_end, needs, below)
                        found[tunnel.link] = Obstacle(text=text, link=tunnel.link)
        except (ProviderError, PluginError):
            pass  # the tables and the transport need the same answers and report that there are none
        return list(found.values())

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


def _far_ends(desired: Desired) -> Iterator[tuple[Tunnel, IPAddress]]:
    """Yield each tunnel with each address that its packets go to."""
    for name, table in desired.tables.items():
        if not name.startswith("tunnels/"):
            continue
        peers = desired.table(name.replace("tunnels/", "peers/", 1)).values
        for tunnel in table.values.values():
            if tunnel.remote is not None:
                yield tunnel, tunnel.remote
            for key, peer in peers.items():
                if key.link == tunnel.link and peer.endpoint is not None:
                    yield tunnel, peer.endpoint.address


def _too_large(tunnel: Tunnel, far_end: IPAddress, needs: int, below: Link) -> str:
    return (
        f"{tunnel.link}: its MTU is {tunnel.mtu}, so its largest packets to {far_end} have {needs} bytes, and"
        f" {below.name} has an MTU of {below.mtu}; they leave as fragments or not at all; set mtu:"
        f" {tunnel.mtu - needs + below.mtu} in {tunnel.owner}"
    )


def _text(strict: StrictLink) -> str:
    why = f"{strict.setting} is 1{', which makes every device strict' if strict.by_all else ''}"
    return (
        f"{strict.link}: reverse path filtering is strict ({why}); the kernel drops packets that arrive here"
        " from an address behind another device; to make it loose, add a Sysctl"
        f' with key net.ipv4.conf.{strict.link}.rp_filter and value "2"'
    )
