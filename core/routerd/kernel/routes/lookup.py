"""The kernel's route of a packet to an address: `ip route get fibmatch` as a value."""

import errno
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import attrs

from routerd.errors import ProviderError
from routerd.kernel.netlink import ask, collect, errno_of
from routerd.kernel.pyroute2_parts import AsyncIPRoute
from routerd.model.addresses import IPAddress, ipv4
from routerd.model.names import LinkName
from routerd.model.route import NextHop

_RTM_F_LOOKUP_TABLE = 0x1000
_RTM_F_FIB_MATCH = 0x2000
_KINDS = {1: "unicast", 2: "local", 3: "broadcast", 4: "anycast", 5: "multicast"}
# The kernel never shows a refusing route; it answers with the errno for the sender.
_REFUSALS = {
    errno.EINVAL: "blackhole",
    errno.EHOSTUNREACH: "unreachable",
    errno.EACCES: "prohibit",
    errno.ENETUNREACH: "none",
    errno.ESRCH: "none",
}


@attrs.frozen(kw_only=True)
class RouteAnswer:
    """The kernel's route for packets of this host itself, after all policy rules.

    `kind` is the kernel's type of the route, or `none` if no route matches. A refusing route
    (`blackhole`, `unreachable`, `prohibit`) has no `prefix`, because the kernel does not name it.
    """

    kind: str
    prefix: IPv4Network | None = None
    next_hops: tuple[NextHop, ...] = ()
    protocol: int = 0
    metric: int = 0
    table: int = 0


async def lookup(address: IPAddress) -> RouteAnswer:
    """Ask the kernel where it sends packets to `address`; raises `ProviderError`."""
    address = ipv4(address, "the kernel's routes")

    async def request(socket: AsyncIPRoute) -> tuple[list[Any], list[Any]]:
        flags = _RTM_F_FIB_MATCH | _RTM_F_LOOKUP_TABLE
        return (
            await socket.route("get", dst=str(address), flags=flags),
            await collect(await socket.link("dump")),
        )

    try:
        answers, links = await ask(f"look up {address}", request)
    except ProviderError as error:
        kind = _REFUSALS.get(errno_of(error))
        if kind is None:
            raise
        return RouteAnswer(kind=kind)
    names = {message["index"]: LinkName(message.get_attr("IFLA_IFNAME")) for message in links}
    return _read(answers[0], names)


def _read(message: Any, names: Mapping[int, LinkName]) -> RouteAnswer:  # noqa: ANN401 - pyroute2 gives its messages no types
    # The default route has no destination.
    destination = IPv4Address(message.get_attr("RTA_DST") or 0)
    return RouteAnswer(
        kind=_KINDS.get(message["type"], f"type {message['type']}"),
        prefix=IPv4Network(f"{destination}/{message['dst_len']}"),
        next_hops=tuple(_hops(message, names)),
        protocol=message["proto"],
        metric=message.get_attr("RTA_PRIORITY") or 0,
        table=message.get_attr("RTA_TABLE") or message["table"],
    )


def _hops(message: Any, names: Mapping[int, LinkName]) -> Iterator[NextHop]:  # noqa: ANN401 - pyroute2 gives its messages no types
    for hop in message.get_attr("RTA_MULTIPATH") or ():
        yield _hop(hop, names.get(hop["oif"]))
    link = message.get_attr("RTA_OIF")
    if link is not None:
        yield _hop(message, names.get(link))


def _hop(found: Any, link: LinkName | None) -> NextHop:  # noqa: ANN401 - pyroute2 gives its messages no types
    gateway = found.get_attr("RTA_GATEWAY")
    return NextHop(gateway=IPv4Address(gateway) if gateway else None, link=link)
