"""The path attributes of an UPDATE, each by its rule of RFC 7606 section 7. Pure.

The result is a plain block for a session with AS numbers of four octets: every attribute once, without
MP_REACH_NLRI and MP_UNREACH_NLRI, and without optional non-transitive attributes that this speaker does not
know.
"""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

import attrs

from routerd_bgp_ryu.screen import as_path
from routerd_bgp_ryu.screen.verdict import Fault, Flaw, Terms, Weight

OPTIONAL, TRANSITIVE, PARTIAL, EXTENDED = 0x80, 0x40, 0x20, 0x10
ORIGIN, AS_PATH, NEXT_HOP, MED, LOCAL_PREF, ATOMIC_AGGREGATE, AGGREGATOR, COMMUNITIES = range(1, 9)
ORIGINATOR_ID, CLUSTER_LIST, MP_REACH, MP_UNREACH, EXTENDED_COMMUNITIES = 9, 10, 14, 15, 16
AS4_PATH, AS4_AGGREGATOR, IPV6_COMMUNITIES, LARGE_COMMUNITIES = 17, 18, 25, 32

_REGISTERED = frozenset((*range(1, 41), 128))
"""Attributes that IANA knows. Those that this speaker does not know are all optional, so that wrong flags are
a flaw like any other (RFC 7606 section 3 (c)) and not an unknown well-known attribute."""

_LOOPBACK = 127


@attrs.frozen
class Attribute:
    """One path attribute; `flags` has only the four bits that RFC 4271 defines."""

    flags: int
    kind: int
    value: bytes

    def wire(self) -> bytes:
        """Return it as octets, with a long length where it needs one."""
        size = len(self.value)
        flags = self.flags | EXTENDED if size > 255 else self.flags & ~EXTENDED
        return bytes([flags, self.kind]) + size.to_bytes(2 if size > 255 else 1) + self.value


def split(block: bytes) -> tuple[list[Attribute], Flaw | None]:
    """Return the attributes of a block, up to the first that overruns it (RFC 7606 section 4)."""
    found: list[Attribute] = []
    start = 0
    while start < len(block):
        width = 2 if block[start] & EXTENDED else 1
        value = start + 2 + width
        if value > len(block):
            return found, _withdraw("an attribute that is cut off")
        stop = value + int.from_bytes(block[start + 2 : value])
        if stop > len(block):
            return found, _withdraw(f"attribute {block[start + 1]} is longer than all attributes together")
        found.append(Attribute(block[start] & 0xF0, block[start + 1], block[value:stop]))
        start = stop
    return found, None


def _withdraw(text: str, reason: str = "malformed-attribute") -> Flaw:
    return Flaw(weight=Weight.WITHDRAW, text=text, reason=reason)


def _discard(text: str) -> Flaw:
    return Flaw(weight=Weight.DISCARD, text=text)


# --- one attribute -------------------------------------------------------------------------------


def _sized(*sizes: int) -> Callable[[bytes, Terms], str]:
    return lambda value, _: "" if len(value) in sizes else f"of {len(value)} octets"


def _multiple(size: int) -> Callable[[bytes, Terms], str]:
    return lambda value, _: "" if value and len(value) % size == 0 else f"of {len(value)} octets"


def _origin(value: bytes, _: Terms) -> str:
    if len(value) != 1:
        return f"of {len(value)} octets"
    return "" if value[0] <= 2 else f"with value {value[0]}"


def _next_hop(value: bytes, terms: Terms) -> str:
    if len(value) != 4:
        return f"of {len(value)} octets"
    address = IPv4Address(value)
    # RFC 4271 section 6.3. Loopback is good where the session itself is on it.
    foreign = value[0] in (0, _LOOPBACK) and value[0] != terms.local.packed[0]
    if foreign or address.is_multicast or address.is_reserved:
        return f"{address} is not a host address"
    return f"{address} is our own address" if address == terms.local else ""


def _aggregator(value: bytes, width: int) -> str:
    if len(value) != width + 4:
        return f"of {len(value)} octets"
    return "" if any(value[:width]) else "with AS number 0"  # RFC 7607 section 2


@attrs.frozen
class Rule:
    """How to judge an attribute: its flags, its value, and what follows when that is wrong.

    `wrong` returns what is wrong with a value, or nothing. An attribute that is for `internal` neighbours is
    discarded from all others, whatever it says.
    """

    name: str
    flags: int
    wrong: Callable[[bytes, Terms], str] = lambda *_: ""
    weight: Weight = Weight.WITHDRAW
    internal: bool = False
    reason: str = "malformed-attribute"


_BOTH = OPTIONAL | TRANSITIVE
RULES = {
    ORIGIN: Rule("ORIGIN", TRANSITIVE, _origin),
    AS_PATH: Rule("AS_PATH", TRANSITIVE),  # below, as it needs AS4_PATH
    NEXT_HOP: Rule("NEXT_HOP", TRANSITIVE, _next_hop, reason="invalid-next-hop"),
    MED: Rule("MULTI_EXIT_DISC", OPTIONAL, _sized(4)),
    LOCAL_PREF: Rule("LOCAL_PREF", TRANSITIVE, _sized(4), internal=True),
    ATOMIC_AGGREGATE: Rule("ATOMIC_AGGREGATE", TRANSITIVE, _sized(0), Weight.DISCARD),
    AGGREGATOR: Rule(
        "AGGREGATOR", _BOTH, lambda value, terms: _aggregator(value, 4 if terms.wide else 2), Weight.DISCARD
    ),
    COMMUNITIES: Rule("COMMUNITIES", _BOTH, _multiple(4)),
    ORIGINATOR_ID: Rule("ORIGINATOR_ID", OPTIONAL, _sized(4), internal=True),
    CLUSTER_LIST: Rule("CLUSTER_LIST", OPTIONAL, _multiple(4), internal=True),
    MP_REACH: Rule("MP_REACH_NLRI", OPTIONAL),  # in update.py, with the other prefixes
    MP_UNREACH: Rule("MP_UNREACH_NLRI", OPTIONAL),
    EXTENDED_COMMUNITIES: Rule("EXTENDED COMMUNITIES", _BOTH, _multiple(8)),
    AS4_PATH: Rule("AS4_PATH", _BOTH),
    AS4_AGGREGATOR: Rule("AS4_AGGREGATOR", _BOTH, lambda value, _: _aggregator(value, 4), Weight.DISCARD),
    IPV6_COMMUNITIES: Rule("IPv6 EXTENDED COMMUNITIES", _BOTH, _multiple(20)),
    LARGE_COMMUNITIES: Rule("LARGE_COMMUNITY", _BOTH, _multiple(12)),  # RFC 8092 section 6
}


def flaw_of(each: Attribute, rule: Rule, terms: Terms) -> Flaw | None:
    """Return what is wrong with a known attribute, or none."""
    if rule.internal and not terms.internal:
        return _discard(f"{rule.name} from another AS")
    if each.flags & _BOTH != rule.flags:
        return _withdraw(f"{rule.name} with flags {each.flags:#04x}")  # section 3 (c)
    wrong = rule.wrong(each.value, terms)
    return Flaw(weight=rule.weight, text=f"{rule.name} {wrong}", reason=rule.reason) if wrong else None


# --- all together --------------------------------------------------------------------------------


@attrs.define(eq=False)
class Judged:
    """A block of attributes: the good ones, those that hold prefixes, and what is wrong.

    `block` is what `kept` looks like on the wire. `carries` says that there is more than MP_UNREACH_NLRI,
    so that the UPDATE should announce prefixes.
    """

    kept: tuple[Attribute, ...] = ()
    block: bytes = b""
    kinds: frozenset[int] = frozenset()
    reach: Attribute | None = None
    unreach: Attribute | None = None
    carries: bool = False
    flaws: tuple[Flaw, ...] = ()
    fault: Fault | None = None


def judge(block: bytes, terms: Terms) -> Judged:
    """Judge a block of attributes; the caller judges the prefixes in it, and what they need."""
    given, overrun = split(block)
    flaws = [overrun] if overrun else []
    first: dict[int, Attribute] = {}
    for each in given:
        fault = _fault_of(each, first)
        if fault is not None:
            return Judged(fault=fault)
        if each.kind in first:
            flaws.append(_discard(f"attribute {each.kind} twice"))  # section 3 (g)
            continue
        first[each.kind] = each
    kept: dict[int, Attribute] = {}
    for kind, each in first.items():
        rule = RULES.get(kind)
        if terms.wide and kind in (AS4_PATH, AS4_AGGREGATOR):
            continue  # RFC 6793 section 6
        flaw = flaw_of(each, rule, terms) if rule is not None else None
        if flaw is not None:
            flaws.append(flaw)
        if rule is not None and (flaw is None or kind in (MP_REACH, MP_UNREACH)):
            kept[kind] = each
        elif rule is None and not each.flags & OPTIONAL:
            flaws.append(_withdraw(f"attribute {kind} with flags {each.flags:#04x}"))
        elif rule is None and each.flags & TRANSITIVE:
            kept[kind] = attrs.evolve(each, flags=each.flags | PARTIAL)  # RFC 4271 section 5
    reach, unreach = kept.pop(MP_REACH, None), kept.pop(MP_UNREACH, None)
    flaws += _paths(kept, terms)
    flaws += _reflection(kept, terms)
    if any(flaw.loop for flaw in flaws):
        # Our own path comes back with our next hop; the neighbour that reflects it makes no error.
        flaws = [flaw for flaw in flaws if flaw.reason != RULES[NEXT_HOP].reason]
    _once(kept)
    return Judged(
        kept=tuple(kept.values()),
        block=b"".join(each.wire() for each in kept.values()),
        kinds=frozenset(first) if overrun is None else frozenset((ORIGIN, AS_PATH, NEXT_HOP)),
        reach=reach,
        unreach=unreach,
        carries=bool(first.keys() - {MP_UNREACH}) or overrun is not None,
        flaws=tuple(flaws),
    )


def _fault_of(each: Attribute, first: dict[int, Attribute]) -> Fault | None:
    """Return why an attribute ends the session: section 3 (g), and RFC 4271 section 6.3."""
    if each.kind in (MP_REACH, MP_UNREACH) and each.kind in first:
        return Fault(code=(3, 1), text=f"{RULES[each.kind].name} twice")
    if each.kind not in _REGISTERED and not each.flags & OPTIONAL:
        text = f"an unknown well-known attribute, {each.kind}"
        return Fault(code=(3, 2), text=text, data=each.wire())
    return None


def _paths(kept: dict[int, Attribute], terms: Terms) -> Iterator[Flaw]:
    """Judge the path; write AS numbers of two octets in four (RFC 6793 section 4.2.3)."""
    path, path4 = kept.get(AS_PATH), kept.pop(AS4_PATH, None)
    aggregator, aggregator4 = kept.get(AGGREGATOR), kept.pop(AS4_AGGREGATOR, None)
    if not terms.wide and aggregator is not None:
        value = bytes(2) + aggregator.value
        if int.from_bytes(value[:4]) != as_path.AS_TRANS:
            path4 = None
        elif aggregator4 is not None:
            value = aggregator4.value
        kept[AGGREGATOR] = attrs.evolve(aggregator, value=value)
    if path is None:
        return
    segments, wrong = as_path.parse(path.value, 4 if terms.wide else 2)
    if not terms.wide and path4 is not None and not wrong:
        segments4, wrong4 = as_path.parse(path4.value, 4)
        if wrong4:
            yield _discard(f"AS4_PATH with {wrong4}")  # RFC 6793 section 6
        else:
            segments = as_path.merge(segments, segments4)
    if not wrong and not terms.internal:
        wrong = _first(segments, terms)
    if wrong:
        yield _withdraw(f"AS_PATH with {wrong}")
    elif sum(len(segment.numbers) for segment in segments) > as_path.LONGEST:
        yield _withdraw(f"AS_PATH of more than {as_path.LONGEST} AS numbers", "as-path-too-long")
    elif any(terms.asn in segment.numbers for segment in segments):
        yield Flaw(weight=Weight.WITHDRAW, text="AS_PATH through us", reason="loop", loop=True)
    if not terms.wide and not wrong:
        kept[AS_PATH] = attrs.evolve(path, value=as_path.wire(segments))


def _first(segments: list[as_path.Segment], terms: Terms) -> str:
    """Return what is wrong with the beginning of another AS's path (RFC 4271 section 6.3)."""
    if segments and segments[0].kind == as_path.SEQUENCE and segments[0].numbers[0] == terms.peer_asn:
        return ""
    return f"another beginning than AS {terms.peer_asn}"


def _reflection(kept: dict[int, Attribute], terms: Terms) -> Iterator[Flaw]:
    """Yield a flaw for a reflection of our own path (RFC 4456 section 8)."""
    originator, clusters = kept.get(ORIGINATOR_ID), kept.get(CLUSTER_LIST)
    ours = originator is not None and originator.value == terms.router_id.packed
    if clusters is not None and not ours:
        starts = range(0, len(clusters.value), 4)
        ours = any(clusters.value[at : at + 4] == terms.cluster_id.packed for at in starts)
    if ours:
        yield Flaw(weight=Weight.WITHDRAW, text="a reflection of our own", reason="loop", loop=True)


def _once(kept: dict[int, Attribute]) -> None:
    """Keep each large community once (RFC 8092 section 4)."""
    large = kept.get(LARGE_COMMUNITIES)
    if large is not None:
        each = dict.fromkeys(large.value[at : at + 12] for at in range(0, len(large.value), 12))
        kept[LARGE_COMMUNITIES] = attrs.evolve(large, value=b"".join(each))
