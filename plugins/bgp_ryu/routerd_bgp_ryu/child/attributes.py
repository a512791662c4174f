"""Path attributes: those with which a path goes out, of our own, and of what came, for the daemon.

RFC 4271 section 5, RFC 4456 section 8, RFC 6793. On the way out the library drops ORIGINATOR_ID of what
was reflected before, gives neither it nor CLUSTER_LIST to a neighbour that is not a client, names the
client's address where its router ID belongs, and loses ATOMIC_AGGREGATE.
"""

import socket
from collections.abc import Iterator
from ipaddress import IPv4Address

import attrs

from routerd.model.bgp.best_path import Rank, rank
from routerd.model.session import Advertisement, ImportPolicy
from routerd_bgp_ryu.child.import_filter import communities_of
from routerd_bgp_ryu.child.osken import Library, packet
from routerd_bgp_ryu.child.outbox import Best
from routerd_bgp_ryu.screen import as_path
from routerd_bgp_ryu.screen.attributes import (
    AGGREGATOR,
    AS4_AGGREGATOR,
    AS4_PATH,
    AS_PATH,
    ATOMIC_AGGREGATE,
    CLUSTER_LIST,
    COMMUNITIES,
    EXTENDED_COMMUNITIES,
    LOCAL_PREF,
    MED,
    NEXT_HOP,
    OPTIONAL,
    ORIGIN,
    ORIGINATOR_ID,
    PARTIAL,
    TRANSITIVE,
    Attribute,
)
from routerd_bgp_ryu.wire import Document

DEFAULT_PREFERENCE = 100


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

    def filled(self, next_hop: bytes) -> bytes:
        """Return the attributes with a next hop of four bytes."""
        return self.head + next_hop + self.tail


def template(cluster_id: str, best: Best, audience: Audience) -> Template:
    """Return what a path's attributes look like to an audience, in the order of their types."""
    made = dict(_outgoing(best, audience, cluster_id))
    head = b"".join(made[kind] for kind in sorted(made) if kind < NEXT_HOP)
    tail = b"".join(made[kind] for kind in sorted(made) if kind > NEXT_HOP)
    return Template(head + bytes([TRANSITIVE, NEXT_HOP, 4]), tail)


def originator(path: Library) -> str | None:
    """Return the router ID of the originator of a path that is reflected; none for our own."""
    given = path.get_pattr(ORIGINATOR_ID)
    if given is not None:
        return str(given.value)
    if path.source is None or path.source.protocol is None:
        return None
    return str(path.source.protocol.recv_open_msg.bgp_identifier)


def _outgoing(best: Best, audience: Audience, cluster_id: str) -> Iterator[tuple[int, bytes]]:
    """Yield attributes as octets by type, all but NEXT_HOP."""
    internal, path = audience.local_asn is None, best.path
    for made in (*_as_path(path, audience), *_aggregator(path, audience), *_unknown(path)):
        yield made.kind, made.wire()
    kept = [ORIGIN, ATOMIC_AGGREGATE, COMMUNITIES, EXTENDED_COMMUNITIES, *([MED] if internal else [])]
    for kind in kept:
        given = path.get_pattr(kind)
        if given is not None:
            yield kind, bytes(given.serialize())
    if internal:
        preference = _value(path, LOCAL_PREF, DEFAULT_PREFERENCE)
        yield LOCAL_PREF, Attribute(TRANSITIVE, LOCAL_PREF, preference.to_bytes(4)).wire()
        if best.internal:
            if best.originator is not None:
                value = socket.inet_aton(best.originator)
                yield ORIGINATOR_ID, Attribute(OPTIONAL, ORIGINATOR_ID, value).wire()
            clusters = b"".join(map(socket.inet_aton, (cluster_id, *_value(path, CLUSTER_LIST, ()))))
            yield CLUSTER_LIST, Attribute(OPTIONAL, CLUSTER_LIST, clusters).wire()


def _as_path(path: Library, audience: Audience) -> Iterator[Attribute]:
    given = path.get_pattr(AS_PATH).value
    segments = [
        as_path.Segment(as_path.SET if isinstance(each, set) else as_path.SEQUENCE, tuple(each))
        for each in given
        if each
    ]
    if audience.local_asn is not None:
        segments = as_path.prepend(segments, audience.local_asn)
    wide = as_path.wire(segments)
    if audience.wide:
        yield Attribute(TRANSITIVE, AS_PATH, wide)
        return
    yield Attribute(TRANSITIVE, AS_PATH, as_path.wire(segments, 2))
    if any(asn > 0xFFFF for segment in segments for asn in segment.numbers):
        yield Attribute(OPTIONAL | TRANSITIVE, AS4_PATH, wide)


def _aggregator(path: Library, audience: Audience) -> Iterator[Attribute]:
    given, flags = path.get_pattr(AGGREGATOR), OPTIONAL | TRANSITIVE
    if given is None:
        return
    wide = given.as_number.to_bytes(4) + socket.inet_aton(given.addr)
    if audience.wide:
        yield Attribute(flags, AGGREGATOR, wide)
        return
    yield Attribute(flags, AGGREGATOR, as_path.narrow(given.as_number).to_bytes(2) + wide[4:])
    if given.as_number > 0xFFFF:
        yield Attribute(flags, AS4_AGGREGATOR, wide)


def _unknown(path: Library) -> Iterator[Attribute]:
    """Yield transitive attributes that the library does not know, marked as partial (RFC 4271 section 5)."""
    for kind, given in path.pathattr_map.items():
        if isinstance(given, packet.BGPPathAttributeUnknown) and given.flags & TRANSITIVE:
            yield Attribute(given.flags | PARTIAL, int(kind), bytes(given.value))


def originated(advertisement: Advertisement) -> dict[int, Library]:
    """Return the attributes of a path of our own."""
    made = {
        ORIGIN: packet.BGPPathAttributeOrigin(packet.BGP_ATTR_ORIGIN_IGP),
        AS_PATH: packet.BGPPathAttributeAsPath([[]]),
    }
    if advertisement.communities:
        numbers = sorted(map(_community, advertisement.communities))
        made[COMMUNITIES] = packet.BGPPathAttributeCommunities(numbers)
    if advertisement.local_preference is not None:
        preference = packet.BGPPathAttributeLocalPref(advertisement.local_preference)
        made[LOCAL_PREF] = preference
    if advertisement.med is not None:
        made[MED] = packet.BGPPathAttributeMultiExitDisc(advertisement.med)
    return made


def _community(text: str) -> int:
    """Return the number of a community in the form `64512:100` (RFC 1997)."""
    high, _, low = text.partition(":")
    return int(high) << 16 | int(low)


def described(path: Library, neighbour: str, policy: ImportPolicy, *, stale: bool = False) -> Document:
    """Return a path that was let in as the daemon is told of it, with what its policy sets."""
    segments = path.get_pattr(AS_PATH).value
    preference = policy.local_preference
    if preference is None:
        preference = _value(path, LOCAL_PREF, DEFAULT_PREFERENCE)
    return {
        "prefix": path.nlri.formatted_nlri_str,
        "neighbour": neighbour,
        "next_hop": neighbour if policy.next_hop == "peer-address" else str(path.nexthop),
        "local_preference": preference,
        "as_path": [asn for segment in segments for asn in segment],
        "originator": _value(path, ORIGINATOR_ID, None),
        "origin": _value(path, ORIGIN, 0),
        "med": _value(path, MED, 0),
        "communities": sorted(communities_of(path)),
        "internal": not path.source.is_ebgp_peer(),
        "stale": stale,
    }


def order(path: Library) -> tuple[Rank, int, int]:
    """Return the sort key of a path for reflection: its rank, then RFC 4271 step f and RFC 4456 section 9.

    External paths of equal rank are equal (RFC 5004).
    """
    internal = path.source is None or not path.source.is_ebgp_peer()
    its_rank = rank(
        local_preference=_value(path, LOCAL_PREF, DEFAULT_PREFERENCE),
        own=path.source is None,
        hops=path.get_pattr(AS_PATH).get_as_path_len(),
        origin=_value(path, ORIGIN, 0),
        med=_value(path, MED, 0),
        internal=internal,
    )
    router_id = originator(path) if internal else None
    clusters = _value(path, CLUSTER_LIST, ())
    return its_rank, int(IPv4Address(router_id)) if router_id is not None else 0, len(clusters)


def _value(path: Library, kind: int, default: Library) -> Library:
    given = path.get_pattr(kind)
    return given.value if given is not None else default
