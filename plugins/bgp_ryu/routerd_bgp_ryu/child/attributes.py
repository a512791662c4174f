"""Path attributes: those with which a path goes out, of our own, and of what came, for the daemon.

RFC 4271 section 5, RFC 4456 section 8, RFC 6793. On the way out the library drops ORIGINATOR_ID of what
was reflected before, gives neither it nor CLUSTER_LIST to a neighbour that is not a client, names the
client's address where its router ID belongs, and loses ATOMIC_AGGREGATE.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import IPv4Address

import attrs

from routerd.model.bgp.best_path import Rank, rank
from routerd.model.session import Advertisement, ImportPolicy
from routerd_bgp_ryu.child.import_filter import communities_of
from routerd_bgp_ryu.child.outbox import Best
from routerd_bgp_ryu.child.quirks import Library
from routerd_bgp_ryu.wire import Document

DEFAULT_PREFERENCE = 100
_PARTIAL = 0x20
_TRANSITIVE = 0x40
_EXTENDED = 0x10
_OPTIONAL = 0x80


@attrs.frozen
class Audience:
    """What of a session decides how attributes look; sessions with equal ones are sent the same.

    `local_asn` is the AS number that an external neighbour sees in front, none inside our AS.
    """

    wide: bool
    local_asn: int | None = None


@attrs.frozen
class Template:
    """Attributes on the wire around the value of NEXT_HOP, the only one that differs by session."""

    head: bytes
    tail: bytes

    @property
    def size(self) -> int:
        """Return the number of bytes, without those of the next hop."""
        return len(self.head) + len(self.tail)

    def filled(self, next_hop: bytes) -> bytes:
        """Return the attributes with a next hop of four bytes."""
        return self.head + next_hop + self.tail


def template(best: Best, audience: Audience, cluster_id: str, packet: Library) -> Template:
    """Return what a path's attributes look like to an audience, in the order of their types."""
    made = dict(_outgoing(best, audience, cluster_id, packet))
    head, tail = bytearray(), bytearray()
    next_hop = int(packet.BGP_ATTR_TYPE_NEXT_HOP)
    for kind in sorted(made):
        (head if kind < next_hop else tail).extend(made[kind])
    return Template(bytes(head) + bytes([_TRANSITIVE, next_hop, 4]), bytes(tail))


def originator(path: Library, packet: Library) -> str | None:
    """Return the router ID of the originator of a path that is reflected; none for our own."""
    given = path.get_pattr(packet.BGP_ATTR_TYPE_ORIGINATOR_ID)
    if given is not None:
        return str(given.value)
    if path.source is None or path.source.protocol is None:
        return None
    return str(path.source.protocol.recv_open_msg.bgp_identifier)


def _outgoing(
    best: Best, audience: Audience, cluster_id: str, packet: Library
) -> Iterator[tuple[int, bytes]]:
    """Yield attributes by type, all but NEXT_HOP."""
    internal, path = audience.local_asn is None, best.path
    yield from _as_path(path, audience, packet)
    yield from _aggregator(path, audience, packet)
    kept = [
        packet.BGP_ATTR_TYPE_ORIGIN,
        packet.BGP_ATTR_TYPE_ATOMIC_AGGREGATE,
        packet.BGP_ATTR_TYPE_COMMUNITIES,
        packet.BGP_ATTR_TYPE_EXTENDED_COMMUNITIES,
    ]
    if internal:
        kept.append(packet.BGP_ATTR_TYPE_MULTI_EXIT_DISC)
    for kind in kept:
        given = path.get_pattr(kind)
        if given is not None:
            yield int(kind), bytes(given.serialize())
    if internal:
        preference = path.get_pattr(packet.BGP_ATTR_TYPE_LOCAL_PREF)
        value = DEFAULT_PREFERENCE if preference is None else preference.value
        yield int(packet.BGP_ATTR_TYPE_LOCAL_PREF), bytes(packet.BGPPathAttributeLocalPref(value).serialize())
        if best.internal:
            yield from _reflection(best, cluster_id, packet)
    yield from _unknown(path, packet)


def _as_path(path: Library, audience: Audience, packet: Library) -> Iterator[tuple[int, bytes]]:
    segments = path.get_pattr(packet.BGP_ATTR_TYPE_AS_PATH).path_seg_list
    if audience.local_asn is not None:
        if segments and isinstance(segments[0], list) and len(segments[0]) < 255:
            segments[0].insert(0, audience.local_asn)
        else:
            segments.insert(0, [audience.local_asn])
    kind = int(packet.BGP_ATTR_TYPE_AS_PATH)
    if audience.wide:
        yield kind, bytes(packet.BGPPathAttributeAsPath(segments, as_pack_str="!I").serialize())
        return
    narrow = [type(segment)(_narrow(asn, packet) for asn in segment) for segment in segments]
    yield kind, bytes(packet.BGPPathAttributeAsPath(narrow, as_pack_str="!H").serialize())
    if narrow != segments:
        yield int(packet.BGP_ATTR_TYPE_AS4_PATH), bytes(packet.BGPPathAttributeAs4Path(segments).serialize())


def _aggregator(path: Library, audience: Audience, packet: Library) -> Iterator[tuple[int, bytes]]:
    given = path.get_pattr(packet.BGP_ATTR_TYPE_AGGREGATOR)
    if given is None:
        return
    kind, asn, address = int(packet.BGP_ATTR_TYPE_AGGREGATOR), given.as_number, socket.inet_aton(given.addr)
    flags = _OPTIONAL | _TRANSITIVE
    if audience.wide:
        yield kind, bytes([flags, kind, 8]) + asn.to_bytes(4, "big") + address
        return
    yield kind, bytes([flags, kind, 6]) + _narrow(asn, packet).to_bytes(2, "big") + address
    if asn != _narrow(asn, packet):
        wide = int(packet.BGP_ATTR_TYPE_AS4_AGGREGATOR)
        yield wide, bytes([flags, wide, 8]) + asn.to_bytes(4, "big") + address


def _narrow(asn: int, packet: Library) -> int:
    """Return an AS number as it stands in two bytes (RFC 6793 section 4.2.2)."""
    return asn if asn <= 0xFFFF else int(packet.AS_TRANS)


def _reflection(best: Best, cluster_id: str, packet: Library) -> Iterator[tuple[int, bytes]]:
    """Yield ORIGINATOR_ID and CLUSTER_LIST for a path of an internal neighbour."""
    if best.originator is not None:
        attribute = packet.BGPPathAttributeOriginatorId(value=best.originator)
        yield int(packet.BGP_ATTR_TYPE_ORIGINATOR_ID), bytes(attribute.serialize())
    given = best.path.get_pattr(packet.BGP_ATTR_TYPE_CLUSTER_LIST)
    clusters = [cluster_id, *(given.value if given is not None else ())]
    yield (
        int(packet.BGP_ATTR_TYPE_CLUSTER_LIST),
        bytes(packet.BGPPathAttributeClusterList(clusters).serialize()),
    )


def _unknown(path: Library, packet: Library) -> Iterator[tuple[int, bytes]]:
    """Yield what the library does not know and is passed on, marked as partial (RFC 4271 section 5)."""
    for kind, given in path.pathattr_map.items():
        if isinstance(given, packet.BGPPathAttributeUnknown) and given.flags & _TRANSITIVE:
            flags = (given.flags | _PARTIAL) & ~_EXTENDED
            size = len(given.value)
            long = size > 0xFF
            head = bytes([flags | (_EXTENDED if long else 0), int(kind)])
            yield int(kind), head + size.to_bytes(2 if long else 1, "big") + bytes(given.value)


def originated(advertisement: Advertisement, packet: Library) -> dict[int, Library]:
    """Return the attributes of a path of our own."""
    made = {
        packet.BGP_ATTR_TYPE_ORIGIN: packet.BGPPathAttributeOrigin(packet.BGP_ATTR_ORIGIN_IGP),
        packet.BGP_ATTR_TYPE_AS_PATH: packet.BGPPathAttributeAsPath([[]]),
    }
    if advertisement.communities:
        numbers = sorted(map(_community, advertisement.communities))
        made[packet.BGP_ATTR_TYPE_COMMUNITIES] = packet.BGPPathAttributeCommunities(numbers)
    if advertisement.local_preference is not None:
        preference = packet.BGPPathAttributeLocalPref(advertisement.local_preference)
        made[packet.BGP_ATTR_TYPE_LOCAL_PREF] = preference
    if advertisement.med is not None:
        made[packet.BGP_ATTR_TYPE_MULTI_EXIT_DISC] = packet.BGPPathAttributeMultiExitDisc(advertisement.med)
    return made


def _community(text: str) -> int:
    """Return the number of a community in the form `64512:100` (RFC 1997)."""
    high, _, low = text.partition(":")
    return int(high) << 16 | int(low)


def described(
    path: Library, neighbour: str, policy: ImportPolicy, packet: Library, *, stale: bool = False
) -> Document:
    """Return a path that was let in as the daemon is told of it, with what its policy sets."""
    segments = path.get_pattr(packet.BGP_ATTR_TYPE_AS_PATH).path_seg_list
    preference = policy.local_preference
    if preference is None:
        preference = _value(path, packet.BGP_ATTR_TYPE_LOCAL_PREF, DEFAULT_PREFERENCE)
    return {
        "prefix": path.nlri.formatted_nlri_str,
        "neighbour": neighbour,
        "next_hop": neighbour if policy.next_hop == "peer-address" else str(path.nexthop),
        "local_preference": preference,
        "as_path": [asn for segment in segments for asn in segment],
        "originator": _value(path, packet.BGP_ATTR_TYPE_ORIGINATOR_ID, None),
        "origin": _value(path, packet.BGP_ATTR_TYPE_ORIGIN, 0),
        "med": _value(path, packet.BGP_ATTR_TYPE_MULTI_EXIT_DISC, 0),
        "communities": sorted(communities_of(path)),
        "internal": not path.source.is_ebgp_peer(),
        "stale": stale,
    }


def order(path: Library, packet: Library) -> tuple[Rank, int, int]:
    """Return the sort key of a path for reflection: its rank, then RFC 4271 step f and RFC 4456 section 9.

    External paths of equal rank are equal (RFC 5004).
    """
    internal = path.source is None or not path.source.is_ebgp_peer()
    its_rank = rank(
        local_preference=_value(path, packet.BGP_ATTR_TYPE_LOCAL_PREF, DEFAULT_PREFERENCE),
        own=path.source is None,
        hops=path.get_pattr(packet.BGP_ATTR_TYPE_AS_PATH).get_as_path_len(),
        origin=_value(path, packet.BGP_ATTR_TYPE_ORIGIN, 0),
        med=_value(path, packet.BGP_ATTR_TYPE_MULTI_EXIT_DISC, 0),
        internal=internal,
    )
    router_id = originator(path, packet) if internal else None
    clusters = _value(path, packet.BGP_ATTR_TYPE_CLUSTER_LIST, ())
    return its_rank, int(IPv4Address(router_id)) if router_id is not None else 0, len(clusters)


def _value(path: Library, kind: int, default: Library) -> Library:
    given = path.get_pattr(kind)
    return given.value if given is not None else default
