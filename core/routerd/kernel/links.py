"""Links of this network namespace: `routerd.spi.Kernel` on rtnetlink.

The kernel ignores `IFLA_IFALIAS` in the message that creates a link. So routerd makes a link down and
without addresses, sets its alias in the next message, and then raises it. A crash between the two
leaves a link that is down, bare and otherwise as desired; `add_link` takes only such a link for its
own unfinished work.
"""

import errno
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from typing import Any

from routerd.errors import PermanentError, ProviderError, TransientError, UnsupportedError
from routerd.kernel.link_fields import TUNNEL_KINDS, misfit
from routerd.kernel.netlink import ask, change_address, errno_of, read_links
from routerd.model.addresses import IPAddress, IPInterface, ipv4, order
from routerd.model.names import MAX_LINK_NAME, LinkName
from routerd.model.tunnel import UdpEncapsulation
from routerd.spi.kernel import ALIAS_PREFIX, Link, LinkSpec

_IFF_UP = 1
_ENCAP_FOU = 1
_GRE_KEY = 0x2000
ODD_KEY = -1
"""The key of a GRE device whose directions differ, or which has checksums or sequence numbers."""

_IMPOSSIBLE_NAME = "rd/probe"
"""A name that the kernel always refuses, because of its slash."""


class NetlinkKernel:
    """Implements `routerd.spi.Kernel`. Holds nothing between calls."""

    async def links(self) -> Mapping[LinkName, Link]:
        """Return all links, ours and foreign, by name."""
        links, addresses = await read_links()
        by_index: dict[int, list[IPInterface]] = {}
        for message, address in addresses:
            by_index.setdefault(message["index"], []).append(address)
        found = [
            _link(message, tuple(sorted(by_index.get(message["index"], ()), key=order))) for message in links
        ]
        return {link.name: link for link in found}

    async def supports(self, kind: str) -> bool:
        """Say whether this kernel can make links of `kind`; the kernel loads the module itself.

        Asks for a link with an impossible name: the kernel looks the kind up first and answers
        EOPNOTSUPP when it has none, and refuses the name otherwise. Nothing is ever made.
        """
        try:
            await ask(
                f"probe for {kind}", lambda socket: socket.link("add", ifname=_IMPOSSIBLE_NAME, kind=kind)
            )
        except UnsupportedError:
            return False
        except ProviderError as exc:
            if errno_of(exc) in {errno.EINVAL, errno.EEXIST}:
                return True
            if errno_of(exc) == errno.EPERM:
                return False
            raise
        return True

    async def add_link(self, spec: LinkSpec) -> None:
        """Create and raise a device; one of ours with the same name must be deleted first."""
        if len(spec.name.encode()) > MAX_LINK_NAME:
            raise PermanentError(f"link {spec.name}: the name is longer than {MAX_LINK_NAME} bytes")
        _check_ipv4(spec.name, *spec.addresses, spec.local, spec.remote)
        if why := misfit(spec) or _unknown_data(spec):
            raise PermanentError(f"link {spec.name}: {why}")
        present = (await self.links()).get(spec.name)
        if present is not None:
            if present.owner is not None:
                raise TransientError(f"link {spec.name}: it exists already")
            if not _is_unfinished(present, spec):
                raise present.foreign()
            await self._delete(present)
        await ask(
            f"add link {spec.name} of kind {spec.kind}",
            lambda socket: socket.link("add", **_attributes(spec)),
        )
        made = (await self.links()).get(spec.name)
        if made is None or made.alias:
            raise TransientError(f"link {spec.name}: another program took or removed it during its creation")
        if lost := sorted(set(spec.data) - set(made.data)):
            await self._delete(made)
            asked = ", ".join(f"{name} {value}" for name, value in lost)
            got = dict(made.data)
            made_it = ", ".join(f"{name} {got.get(name, 'missing')}" for name, _ in lost)
            raise PermanentError(
                f"link {spec.name}: the kernel made {made_it} of {asked}; correct the values"
            )
        await self._configure(made, spec.owner, spec.mtu, spec.addresses)

    async def set_link(
        self,
        name: LinkName,
        *,
        owner: str,
        mtu: int,
        addresses: tuple[IPInterface, ...],
    ) -> None:
        """Raise a link of ours, and give it this owner, this MTU and exactly these addresses."""
        _check_ipv4(name, *addresses)
        present = (await self.links()).get(name)
        if present is None:
            raise TransientError(f"link {name}: it does not exist")
        if present.owner is None:
            raise present.foreign()
        await self._configure(present, owner, mtu, addresses)

    async def mark_link(self, name: LinkName, *, index: int, owner: str) -> None:
        """Give our alias to a link that the caller itself has just made."""
        present = (await self.links()).get(name)
        if present is None:
            raise TransientError(f"link {name}: it does not exist")
        if present.alias or present.index != index:
            raise present.foreign()
        alias = ALIAS_PREFIX + owner
        await ask(f"mark link {name}", lambda socket: socket.link("set", index=index, ifalias=alias))

    async def delete_link(self, name: LinkName) -> None:
        """Delete a link of ours; a link that is gone is a success, a foreign one an error."""
        present = (await self.links()).get(name)
        if present is None:
            return
        if present.owner is None:
            raise present.foreign()
        await self._delete(present)

    async def _configure(self, link: Link, owner: str, mtu: int, addresses: tuple[IPInterface, ...]) -> None:
        alias = ALIAS_PREFIX + owner
        settings: dict[str, Any] = {}
        if link.alias != alias:
            settings["ifalias"] = alias
        if link.mtu != mtu:
            settings["mtu"] = mtu
        if settings:
            what = f"set link {link.name} (mtu {mtu})"
            await ask(what, lambda socket: socket.link("set", index=link.index, **settings))
        for address in set(link.addresses) - set(addresses):
            await change_address("del", link.name, link.index, address)
        for address in sorted(set(addresses) - set(link.addresses), key=order):
            await change_address("add", link.name, link.index, address)
        if not link.up:
            await ask(
                f"raise link {link.name}", lambda socket: socket.link("set", index=link.index, state="up")
            )

    async def _delete(self, link: Link) -> None:
        try:
            await ask(f"delete link {link.name}", lambda socket: socket.link("del", index=link.index))
        except ProviderError as exc:
            if errno_of(exc) != errno.ENODEV:
                raise


def _check_ipv4(name: LinkName, *addresses: IPAddress | IPInterface | None) -> None:
    """Refuse IPv6 before anything is made: routerd reads and writes IPv4 only."""
    for address in addresses:
        if address is not None:
            ipv4(address, f"link {name}")


def _is_unfinished(link: Link, spec: LinkSpec) -> bool:
    return (
        not link.alias
        and not link.up
        and not link.addresses
        and (link.kind, link.local, link.remote, link.key) == (spec.kind, spec.local, spec.remote, spec.key)
        and set(spec.data) <= set(link.data)
    )


def _unknown_data(spec: LinkSpec) -> str:
    """Return which attributes of `data` would get lost, because the library has no place for them."""
    known = _attribute_names(spec.kind)
    unknown = [name for name, _ in spec.data if f"IFLA_{name.upper()}" not in known or name != name.lower()]
    if not unknown:
        return ""
    if not known:
        return f"routerd knows no attributes of kind {spec.kind}, so it would lose {', '.join(unknown)}"
    return f"kind {spec.kind} has no attribute {', '.join(unknown)}; use the names of linux/if_link.h"


def _attribute_names(kind: str) -> frozenset[str]:
    # Imported with the first such link: a command that makes none should not wait for it.
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg  # noqa: PLC0415 - as above

    return frozenset(each[0] for each in getattr(ifinfmsg.ifinfo.data_map.get(kind), "nla_map", ()))


def _attributes(spec: LinkSpec) -> dict[str, Any]:
    """Return the arguments for pyroute2, only those that the kind has."""
    values: dict[str, Any] = {"ifname": spec.name, "kind": spec.kind, **dict(spec.data)}
    prefix = spec.kind
    if prefix not in TUNNEL_KINDS:
        return values
    if spec.local is not None:
        values[f"{prefix}_local"] = str(spec.local)
    if spec.remote is not None:
        values[f"{prefix}_remote"] = str(spec.remote)
    if spec.ttl is not None:
        values[f"{prefix}_ttl"] = spec.ttl
    values[f"{prefix}_pmtudisc"] = 1
    if spec.key is not None:
        values |= {"gre_ikey": spec.key, "gre_okey": spec.key, "gre_iflags": _GRE_KEY, "gre_oflags": _GRE_KEY}
    if spec.encapsulation is not None:
        values[f"{prefix}_encap_type"] = _ENCAP_FOU
        values[f"{prefix}_encap_flags"] = 0
        values[f"{prefix}_encap_sport"] = spec.encapsulation.sport
        values[f"{prefix}_encap_dport"] = spec.encapsulation.dport
    return values


def _link(message: Any, addresses: tuple[IPInterface, ...]) -> Link:  # noqa: ANN401 - pyroute2 messages are untyped
    info = message.get_attr("IFLA_LINKINFO")
    kind = (info.get_attr("IFLA_INFO_KIND") if info else None) or ""
    found = info.get_attr("IFLA_INFO_DATA") if info else None
    data = found if kind in TUNNEL_KINDS else None
    prefix = f"IFLA_{kind.upper()}_"

    def field(name: str) -> Any:  # noqa: ANN401 - as above
        return data.get_attr(prefix + name) if data else None

    stats = message.get_attr("IFLA_STATS64") or {}
    encapsulation = None
    if field("ENCAP_TYPE") == _ENCAP_FOU:
        encapsulation = UdpEncapsulation(sport=field("ENCAP_SPORT"), dport=field("ENCAP_DPORT"))
    return Link(
        name=LinkName(message.get_attr("IFLA_IFNAME")),
        index=message["index"],
        kind=kind,
        up=bool(message["flags"] & _IFF_UP),
        mtu=message.get_attr("IFLA_MTU") or 0,
        alias=message.get_attr("IFLA_IFALIAS") or "",
        local=_address_or_none(field("LOCAL")),
        remote=_address_or_none(field("REMOTE")),
        ttl=field("TTL") or 0,
        key=_key(field) if kind == "gre" else None,
        encapsulation=encapsulation,
        addresses=addresses,
        rx_bytes=stats.get("rx_bytes", 0),
        tx_bytes=stats.get("tx_bytes", 0),
        data=_data(found) if kind not in TUNNEL_KINDS else (),
    )


def _data(attributes: Any) -> dict[str, int | str]:  # noqa: ANN401 - as above
    """Return the attributes of a kind that have one number or text; others are of no use to a tunnel."""
    pairs = attributes["attrs"] if isinstance(attributes, dict) and "attrs" in attributes else ()
    return {
        name.removeprefix("IFLA_").lower(): value for name, value in pairs if isinstance(value, (int, str))
    }


def _key(field: Callable[[str], Any]) -> int | None:
    """Return the key of a GRE device; `ODD_KEY` differs from every tunnel of ours."""
    # The flags decide: without a key the kernel reports zero.
    flags, key = field("IFLAGS") or 0, field("IKEY") or 0
    if (field("OFLAGS") or 0, field("OKEY") or 0) != (flags, key):
        return ODD_KEY
    if flags == _GRE_KEY:
        return int(key)
    return ODD_KEY if flags else None


def _address_or_none(text: str | None) -> IPAddress | None:
    address = IPv4Address(text or 0)
    return None if address.is_unspecified else address
