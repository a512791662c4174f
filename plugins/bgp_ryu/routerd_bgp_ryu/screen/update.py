"""An UPDATE as it arrives: what it announces, what it withdraws, what follows from errors (RFC 7606). Pure.

Prefixes of IPv4 unicast that come in MP_REACH_NLRI and MP_UNREACH_NLRI go on in the plain fields. The screen
ignores those of families that were not negotiated (RFC 7606 section 2: AFI/SAFI disable).
"""

import attrs

from routerd_bgp_ryu.screen import prefixes
from routerd_bgp_ryu.screen.attributes import (
    AS_PATH,
    MP_REACH,
    NEXT_HOP,
    ORIGIN,
    RULES,
    TRANSITIVE,
    Attribute,
    Judged,
    flaw_of,
    judge,
)
from routerd_bgp_ryu.screen.verdict import UPDATE, Fault, Flaw, Terms, Verdict, Weight, framed

ROOM = 3900
"""Maximum octets of the attributes of an UPDATE. The speaker adds some when it passes them on, and one
prefix must fit into the message with them."""

_IPV4_UNICAST = b"\x00\x01\x01"
_ERRORS = ("malformed-attribute", "invalid-next-hop")


@attrs.define(eq=False)
class _Named:
    """The prefixes of an UPDATE by field; `next_hop` is that of MP_REACH_NLRI."""

    withdrawn: list[bytes] = attrs.field(factory=list)
    plain: list[bytes] = attrs.field(factory=list)
    reach: list[bytes] = attrs.field(factory=list)
    next_hop: bytes = b""
    foreign: bool = False


def parts(message: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Return the fields of an UPDATE: withdrawn, attributes, announced. None when they overrun it."""
    body = message[19:]
    middle = 2 + int.from_bytes(body[:2])
    end = middle + 2 + int.from_bytes(body[middle : middle + 2])
    if len(body) < middle + 2 or len(body) < end:
        return None
    return body[2:middle], body[middle + 2 : end], body[end:]


def build(withdrawn: list[bytes], block: bytes, announced: list[bytes]) -> bytes:
    """Return an UPDATE."""
    gone = b"".join(withdrawn)
    body = len(gone).to_bytes(2) + gone + len(block).to_bytes(2) + block + b"".join(announced)
    return framed(UPDATE, body)


def screen_update(message: bytes, terms: Terms, judged: Judged | None = None) -> Verdict:
    """Judge an UPDATE; `judged` is the verdict on its attributes, if the caller has it already."""
    fields = parts(message)
    if fields is None:
        return Verdict(fault=Fault(code=(3, 1), text="lengths of fields that overrun the message"))
    withdrawn, block, announced = fields
    judged = judged or judge(block, terms)
    if judged.fault is not None:
        return Verdict(fault=judged.fault)
    named = _Named()
    fault = _plain(named, withdrawn, announced) or _multiprotocol(named, judged)
    if fault is not None:
        return Verdict(fault=fault)
    flaws = judged.flaws + tuple(_needed(named, judged, terms))
    if any(flaw.weight is Weight.WITHDRAW for flaw in flaws):
        return _treat_as_withdraw(named, judged, flaws)
    return Verdict(messages=_pass_on(message, block, named, judged), flaws=flaws)


def _plain(named: _Named, withdrawn: bytes, announced: bytes) -> Fault | None:
    """Read the fields of RFC 4271; unreadable prefixes cannot be withdrawn (section 3 (j))."""
    for field, name in ((withdrawn, "withdrawn"), (announced, "announced")):
        found = prefixes.split(field)
        if found is None:
            return Fault(code=(3, 10), text=f"{name} prefixes that cannot be read")
        if name == "withdrawn":
            named.withdrawn = found
        else:
            named.plain = found
    return None


def _multiprotocol(named: _Named, judged: Judged) -> Fault | None:
    """Read MP_REACH_NLRI and MP_UNREACH_NLRI (RFC 7606 sections 7.11 and 7.12)."""
    for each in (judged.reach, judged.unreach):
        if each is None:
            continue
        if len(each.value) < (5 if each.kind == MP_REACH else 3):
            return _optional(each, f"of {len(each.value)} octets")
        if each.value[:3] != _IPV4_UNICAST:
            named.foreign = named.foreign or each.kind == MP_REACH
            continue
        start = 3
        if each.kind == MP_REACH:
            start = 5 + each.value[3]  # the octet after the next hop is reserved
            if each.value[3] != 4 or len(each.value) < start:
                return _optional(each, f"of {len(each.value)} octets, {each.value[3]} of them next hop")
            named.next_hop = each.value[4:8]
        found = prefixes.split(each.value[start:])
        if found is None:
            return _optional(each, "with prefixes that cannot be read")
        if each.kind == MP_REACH:
            named.reach = found
        else:
            named.withdrawn = named.withdrawn + found
    return None


def _optional(each: Attribute, text: str) -> Fault:
    return Fault(code=(3, 9), text=f"{RULES[each.kind].name} {text}", data=each.wire())


def _needed(named: _Named, judged: Judged, terms: Terms) -> list[Flaw]:
    """Return the attributes that the prefixes lack (section 3 (d)), and those that are too long."""
    wanted = {ORIGIN, AS_PATH} if named.plain or named.reach else set()
    if named.plain:
        wanted.add(NEXT_HOP)
    missing = [f"{RULES[kind].name} is missing" for kind in sorted(wanted - judged.kinds)]
    found = [Flaw(weight=Weight.WITHDRAW, text=text, reason="missing-attribute") for text in missing]
    if named.reach and not any(flaw.loop for flaw in judged.flaws):
        flaw = flaw_of(Attribute(TRANSITIVE, NEXT_HOP, named.next_hop), RULES[NEXT_HOP], terms)
        found += [flaw] if flaw else []
    if wanted and len(judged.block) > ROOM:
        text = f"attributes of {len(judged.block)} octets"
        found.append(Flaw(weight=Weight.WITHDRAW, text=text, reason="attributes-too-long"))
    return found


def _treat_as_withdraw(named: _Named, judged: Judged, flaws: tuple[Flaw, ...]) -> Verdict:
    announced = named.plain + named.reach
    errors = [flaw for flaw in flaws if flaw.reason in _ERRORS and flaw.weight is Weight.WITHDRAW]
    if errors and judged.carries and not announced and not named.foreign:
        # Section 5.2: the neighbour announced something, and the screen cannot know what.
        return Verdict(fault=Fault(code=(3, 1), text=f"{errors[0].text}, and no prefix that it is of"))
    gone = list(dict.fromkeys(named.withdrawn + announced))
    messages = (build(gone, b"", []),) if gone else ()
    return Verdict(messages=messages, flaws=flaws, withdrawn=tuple(announced))


def _pass_on(message: bytes, block: bytes, named: _Named, judged: Judged) -> tuple[bytes, ...]:
    """Return the UPDATE in its plain form: the message itself, if it has that form."""
    if named.plain or named.reach:
        # RFC 4271 section 4.3: an announcement wins over a withdrawal. The library withdraws last.
        stays = {*named.plain, *named.reach}
        withdrawn = [prefix for prefix in named.withdrawn if prefix not in stays]
    else:
        withdrawn = named.withdrawn
    if judged.reach is None and judged.unreach is None:
        plain = build(withdrawn, judged.block, named.plain)
        return (message if plain == message else plain,)
    messages = []
    end_of_rib = not judged.carries and not _is_foreign(judged.unreach)  # RFC 4724 section 2
    if withdrawn or named.plain or end_of_rib:
        messages.append(build(withdrawn, judged.block if named.plain else b"", named.plain))
    if named.reach:
        messages.append(build([], _with_next_hop(judged, named.next_hop), named.reach))
    return tuple(messages)


def _is_foreign(unreach: Attribute | None) -> bool:
    return unreach is not None and unreach.value[:3] != _IPV4_UNICAST


def _with_next_hop(judged: Judged, next_hop: bytes) -> bytes:
    """Return the attributes with the next hop of MP_REACH_NLRI (RFC 4760 section 3: ignore the other)."""
    others = b"".join(each.wire() for each in judged.kept if each.kind != NEXT_HOP)
    return others + Attribute(TRANSITIVE, NEXT_HOP, next_hop).wire()


def named(message: bytes) -> list[bytes]:
    """Return the prefixes of an UPDATE in its plain form, withdrawn and announced."""
    fields = parts(message) or (b"", b"", b"")
    return [*(prefixes.split(fields[0]) or ()), *(prefixes.split(fields[2]) or ())]


def withdrawal(message: bytes, why: str) -> Verdict | None:
    """Treat an UPDATE in its plain form as a withdrawal of all that it names; none if it names nothing."""
    fields = parts(message)
    gone = list(dict.fromkeys(named(message)))
    if fields is None or not gone:
        return None
    flaw = Flaw(weight=Weight.WITHDRAW, text=f"the speaker cannot handle it ({why})")
    announced = tuple(prefixes.split(fields[2]) or ())
    return Verdict(messages=(build(gone, b"", []),), flaws=(flaw,), withdrawn=announced)
