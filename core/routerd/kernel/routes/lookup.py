"""The kernel's route of a packet to an address: `ip route get fibmatch` as a value."""

import errno
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import attrs

from routerd.kernel.netlink import ask, collect
from routerd.kernel.pyroute2_parts import AsyncIPRoute, NetlinkError
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
    (answer,) = await lookups([address])
    return answer


async def lookups(addresses: Sequence[IPAddress]) -> list[RouteAnswer]:
    """Ask the kernel about several addresses at once; raises `ProviderError`.

    The kernel answers with numbers of links. Their names take a dump of all links, one for all addresses.
    """
    wanted = [ipv4(address, "the kernel's routes") for address in addresses]

    async def request(socket: AsyncIPRoute) -> tuple[list[Any], list[Any]]:
        found = [await _asked(socket, address) for address in wanted]
        return found, await collect(await socket.link("dump"))

    found, links = await ask(f"look up {', '.join(map(str, wanted))}", request)
    names = {message["index"]: LinkName(message.get_attr("IFLA_IFNAME")) for message in links}
    return [RouteAnswer(kind=each) if isinstance(each, str) else _read(each, names) for each in found]


async def _asked(socket: AsyncIPRoute, address: IPv4Address) -> Any:  # noqa: ANN401 - a message of pyroute2, or a word
    """Return the kernel's answer, or the kind of its refusal."""
    try:
        flags = _RTM_F_FIB_MATCH | _RTM_F_LOOKUP_TABLE
        return (await socket.route("get", dst=str(address), flags=flags))[0]
    except NetlinkError as error:
        kind = _REFUSALS.get(error.code)
        if kind is None:
            raise
        return kind


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
