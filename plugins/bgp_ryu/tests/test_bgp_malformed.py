"""What becomes of each kind of malformed message: RFC 4271 section 6, RFC 7606, and what they leave open."""

from __future__ import annotations

import attrs
import pytest

from routerd_bgp_ryu.screen import Fault, Framer, Screen, Terms, Verdict, shutdown_words
from routerd_bgp_ryu.testing.raw import (
    CAPABILITIES,
    NEXT_HOP,
    ORIGIN,
    PATH,
    PREFERENCE,
    TERMS,
    USUAL,
    attribute,
    message,
    notification,
    opening,
    prefix,
    refresh,
    update,
)

EXTERNAL = attrs.evolve(TERMS, peer_asn=64999)
A, B = "10.88.1.1/32", "10.88.2.0/24"
WITHDRAWN = update(withdrawn=(A,))
FOUR = b"\x0a\x00\x00\x09"


def judged(said: bytes, terms: Terms = TERMS) -> Verdict:
    """Judge bytes as they come from a neighbour."""
    (whole,) = Framer().feed(said)
    return Verdict(fault=whole) if isinstance(whole, Fault) else Screen(terms).judge(whole)


def with_(*attributes: bytes, without: bytes = b"") -> bytes:
    """Return an UPDATE for A with the usual attributes and more."""
    return update(USUAL.replace(without, b"") + b"".join(attributes), A)


def path(*segments: tuple[int, tuple[int, ...]], width: int = 4) -> bytes:
    """Return an AS_PATH."""
    value = b"".join(
        bytes([kind, len(numbers)]) + b"".join(each.to_bytes(width) for each in numbers)
        for kind, numbers in segments
    )
    return attribute(0x50 if len(value) > 255 else 0x40, 2, value)


def instead(*attributes: bytes, of: bytes) -> bytes:
    """Return an UPDATE for A with others in the place of one of the usual attributes."""
    return update(USUAL.replace(of, b"".join(attributes)), A)


WELL_FORMED = {
    "the usual": with_(),
    "nothing: End-of-RIB (RFC 4724)": update(),
    "attributes without prefixes": update(USUAL),
    "withdrawn only": update(withdrawn=(A, B)),
    "a default route is legal": update(USUAL, "0.0.0.0/0"),
    "a set of ASes": instead(path((2, (1, 2)), (1, (3, 4))), of=PATH),
    "AS numbers that look like two octets": instead(path((2, (0xAABB0200,))), of=PATH),
    "255 ASes": instead(path((2, (7,) * 255)), of=PATH),
    "unknown optional transitive, marked": with_(attribute(0xE0, 200, b"x")),
    "communities": with_(attribute(0xC0, 8, FOUR * 3)),
    "a long aggregator": with_(attribute(0xC0, 7, bytes.fromhex("0000fc010a000009"))),
    "atomic aggregate": with_(attribute(0x40, 6, b"")),
    "reflected": with_(attribute(0x80, 9, FOUR), attribute(0x80, 10, FOUR * 2)),
    "the plainest OPEN": opening(b""),
    "refresh": refresh(),
    "goodbye": notification(6, 2),
}


@pytest.mark.parametrize("said", WELL_FORMED.values(), ids=WELL_FORMED.keys())
def test_what_is_well_formed_passes_as_it_is(said: bytes) -> None:
    assert judged(said) == Verdict(messages=(said,))


MP_A = b"\x00\x01\x01\x04\x0a\x00\x00\x05\x00" + prefix(A)
MENDED = {
    "announced and withdrawn at once (4271 4.3)": (
        update(USUAL, A, withdrawn=(A, B)),
        update(USUAL, A, withdrawn=(B,)),
    ),
    "unknown optional transitive is marked (4271 5)": (
        with_(attribute(0xC0, 200, b"x")),
        with_(attribute(0xE0, 200, b"x")),
    ),
    "unknown optional non-transitive is left out (4271 5)": (with_(attribute(0x80, 200, b"x")), with_()),
    "idle flags (4271 4.3)": (with_(attribute(0xEF & ~0x10, 200, b"x")), with_(attribute(0xE0, 200, b"x"))),
    "AS4_PATH among new speakers (6793 6)": (with_(attribute(0xC0, 17, b"rubbish")), with_()),
    "MP_REACH of IPv4 unicast (4760 3)": (
        update(ORIGIN + PATH + attribute(0x80, 14, MP_A)),
        update(ORIGIN + PATH + NEXT_HOP, A),
    ),
    "MP_REACH has its own next hop (4760 3)": (
        update(ORIGIN + PATH + attribute(0x40, 3, b"\x0a\x09\x09\x09") + attribute(0x80, 14, MP_A)),
        update(ORIGIN + PATH + NEXT_HOP, A),
    ),
    "MP_UNREACH of IPv4 unicast (4760 4)": (
        update(attribute(0x80, 15, b"\x00\x01\x01" + prefix(A))),
        update(withdrawn=(A,)),
    ),
    "End-of-RIB as MP_UNREACH (4724 2)": (update(attribute(0x80, 15, b"\x00\x01\x01")), update()),
    "capabilities twice and unknown": (
        opening(b"\x02\x08" + CAPABILITIES + b"\x02\x0c" + CAPABILITIES + b"\x49\x02\xff\xff"),
        opening(b"\x02\x06" + CAPABILITIES[:6] + b"\x02\x02" + CAPABILITIES[6:]),
    ),
    "long parameters (9072)": (
        opening(b"\xff\x00\x0b" + b"\x02\x00\x08" + CAPABILITIES, claimed=255),
        opening(b"\x02\x06" + CAPABILITIES[:6] + b"\x02\x02" + CAPABILITIES[6:]),
    ),
    "goodbye at length (9003)": (notification(6, 2, b"\xff" * 900), notification(6, 2, b"\xff" * 128)),
}


@pytest.mark.parametrize(("said", "seen"), MENDED.values(), ids=MENDED.keys())
def test_what_is_unusual_is_brought_into_the_plain_form(said: bytes, seen: bytes) -> None:
    assert judged(said) == Verdict(messages=(seen,))


def test_trailing_bits_of_a_prefix_are_cleared() -> None:
    odd = message(2, update(USUAL)[19:] + b"\x11\x0a\x58\xff\x09\x0a\xff")
    assert judged(odd).messages == (update(USUAL, "10.88.128.0/17", "10.128.0.0/9"),)


def test_both_forms_of_prefixes_keep_their_own_next_hops() -> None:
    other = attribute(0x40, 3, b"\x0a\x00\x00\x07")
    said = update(ORIGIN + PATH + other + attribute(0x80, 14, MP_A), B)
    assert judged(said).messages == (update(ORIGIN + PATH + other, B), update(ORIGIN + PATH + NEXT_HOP, A))


DISCARDED = {
    "ATOMIC_AGGREGATE with a value (7606 7.6)": attribute(0x40, 6, b"x"),
    "AGGREGATOR of 6 octets among new speakers (7606 7.7)": attribute(0xC0, 7, b"\xfc\x01" + FOUR),
    "AGGREGATOR of AS 0 (7607)": attribute(0xC0, 7, bytes(4) + FOUR),
    "ORIGIN twice (7606 3 g)": attribute(0x40, 1, b"\x02"),
    "unknown attribute twice (7606 3 g)": attribute(0xE0, 200, b"x") + attribute(0xE0, 200, b"y"),
}


@pytest.mark.parametrize("more", DISCARDED.values(), ids=DISCARDED.keys())
def test_an_attribute_that_decides_nothing_is_discarded_alone(more: bytes) -> None:
    verdict = judged(with_(more))
    kept = more[:4] if more[1] == 200 else b""
    assert verdict.messages == (with_(kept),)
    assert verdict.worst is not None
    assert verdict.withdrawn == ()


@pytest.mark.parametrize(
    "more",
    [PREFERENCE, attribute(0x40, 5, b"x"), attribute(0x80, 9, b"x"), attribute(0xC0, 10, FOUR)],
    ids=["LOCAL_PREF", "malformed LOCAL_PREF", "ORIGINATOR_ID", "CLUSTER_LIST"],
)
def test_what_is_for_internal_neighbours_is_discarded_from_others(more: bytes) -> None:
    plain = ORIGIN + path((2, (64999,))) + NEXT_HOP
    assert judged(update(plain + more, A), EXTERNAL).messages == (update(plain, A),)


TREATED_AS_WITHDRAW = {
    "no ORIGIN (7606 3 d)": with_(without=ORIGIN),
    "no AS_PATH (7606 3 d)": with_(without=PATH),
    "no NEXT_HOP (7606 3 d)": with_(without=NEXT_HOP),
    "flags of ORIGIN (7606 3 c)": instead(attribute(0xC0, 1, b"\x00"), of=ORIGIN),
    "flags of COMMUNITIES (7606 3 c)": with_(attribute(0x40, 8, FOUR)),
    "flags of an attribute that only IANA knows (7606 3 c)": with_(attribute(0x40, 40, FOUR)),
    "ORIGIN of 2 octets (7606 7.1)": instead(attribute(0x40, 1, b"\x00\x00"), of=ORIGIN),
    "ORIGIN 3 (7606 7.1)": instead(attribute(0x40, 1, b"\x03"), of=ORIGIN),
    "ORIGIN empty (7606 4)": instead(attribute(0x40, 1, b""), of=ORIGIN),
    "AS_PATH: empty segment (7606 7.2)": instead(path((2, ())), of=PATH),
    "AS_PATH: segment of type 0 (7606 7.2)": instead(path((0, (1,))), of=PATH),
    "AS_PATH: confederation (5065 5)": instead(path((3, (65001,))), of=PATH),
    "AS_PATH: overrun (7606 7.2)": instead(attribute(0x40, 2, b"\x02\x03\x00\x00\x00\x01"), of=PATH),
    "AS_PATH: one octet too many (7606 7.2)": instead(
        attribute(0x40, 2, b"\x02\x01\x00\x00\x00\x01\x02"), of=PATH
    ),
    "AS_PATH: AS 0 (7607)": instead(path((2, (64999, 0))), of=PATH),
    "AS_PATH of 256 ASes": instead(path((2, (7,) * 255), (2, (7,))), of=PATH),
    "NEXT_HOP of 5 octets (7606 7.3)": instead(attribute(0x40, 3, FOUR + b"x"), of=NEXT_HOP),
    "NEXT_HOP 0.0.0.0 (4271 6.3)": instead(attribute(0x40, 3, bytes(4)), of=NEXT_HOP),
    "NEXT_HOP multicast (4271 6.3)": instead(attribute(0x40, 3, b"\xe0\x00\x00\x05"), of=NEXT_HOP),
    "NEXT_HOP of class E (4271 6.3)": instead(attribute(0x40, 3, b"\xff" * 4), of=NEXT_HOP),
    "NEXT_HOP loopback": instead(attribute(0x40, 3, b"\x7f\x00\x00\x01"), of=NEXT_HOP),
    "NEXT_HOP is us (4271 6.3)": instead(attribute(0x40, 3, b"\x0a\x00\x00\x01"), of=NEXT_HOP),
    "MED of 3 octets (7606 7.4)": with_(attribute(0x80, 4, b"xxx")),
    "LOCAL_PREF of 5 octets (7606 7.5)": instead(attribute(0x40, 5, b"xxxxx"), of=PREFERENCE),
    "COMMUNITIES of 5 octets (7606 7.8)": with_(attribute(0xC0, 8, FOUR + b"x")),
    "COMMUNITIES empty (7606 4)": with_(attribute(0xC0, 8, b"")),
    "ORIGINATOR_ID of 3 octets (7606 7.9)": with_(attribute(0x80, 9, b"xxx")),
    "CLUSTER_LIST of 6 octets (7606 7.10)": with_(attribute(0x80, 10, b"xxxxxx")),
    "CLUSTER_LIST empty (7606 7.10)": with_(attribute(0x80, 10, b"")),
    "extended communities of 7 octets (7606 7.14)": with_(attribute(0xC0, 16, b"x" * 7)),
    "IPv6 extended communities of 8 octets (7606 7.15)": with_(attribute(0xC0, 25, b"x" * 8)),
    "large communities of 11 octets (8092 6)": with_(attribute(0xC0, 32, b"x" * 11)),
    "an attribute longer than all (7606 4)": with_(b"\xc0\x08\x09" + FOUR),
    "an attribute that is cut off (7606 4)": with_(b"\xc0\x08"),
    "a long length that is cut off (7606 4)": with_(b"\xd0\x08\x00"),
    "attributes that leave no room for ours": with_(attribute(0xD0, 200, bytes(3950))),
    "MP_REACH with our address": update(
        ORIGIN + PATH + attribute(0x80, 14, MP_A.replace(b"\x0a\x00\x00\x05", b"\x0a\x00\x00\x01"))
    ),
    "MP_REACH with wrong flags (7606 3 c)": update(ORIGIN + PATH + attribute(0xC0, 14, MP_A)),
}


@pytest.mark.parametrize("said", TREATED_AS_WITHDRAW.values(), ids=TREATED_AS_WITHDRAW.keys())
def test_routes_whose_attributes_are_wrong_are_withdrawn(said: bytes) -> None:
    verdict = judged(said)
    assert verdict.messages == (WITHDRAWN,)
    assert verdict.withdrawn == (prefix(A),)
    assert verdict.worst is not None
    assert verdict.fault is None


def test_what_an_unusable_update_withdraws_stays_withdrawn() -> None:
    said = update(with_(without=ORIGIN)[23:-5], A, withdrawn=(B, A))
    assert judged(said).messages == (update(withdrawn=(B, A)),)


@pytest.mark.parametrize(
    "more",
    [attribute(0x80, 9, TERMS.router_id.packed), attribute(0x80, 10, FOUR + TERMS.cluster_id.packed)],
    ids=["ORIGINATOR_ID", "CLUSTER_LIST"],
)
def test_a_loop_is_withdrawn_and_nobody_is_to_blame(more: bytes) -> None:
    """RFC 4456 section 8; also RFC 4271 section 9 for the path."""
    ours = attribute(0x40, 3, TERMS.local.packed)
    loops = [
        with_(more),
        instead(path((2, (64999, TERMS.asn))), of=PATH),
        update(USUAL.replace(NEXT_HOP, ours) + more, A),
        update(ORIGIN + PATH + more + attribute(0x80, 14, MP_A.replace(NEXT_HOP[3:], TERMS.local.packed))),
    ]
    for said in loops:
        verdict = judged(said)
        assert verdict.messages == (WITHDRAWN,)
        assert verdict.worst is None


def mp(afi: int, safi: int, rest: bytes) -> bytes:
    """Return MP_REACH_NLRI of any family."""
    return attribute(0x90, 14, afi.to_bytes(2) + bytes([safi]) + rest)


FAMILIES = {
    "IPv6 unicast": mp(2, 1, b"\x10" + bytes(16) + b"\x00\x20\x20\x01\x0d\xb8"),
    "IPv6, rubbish": mp(2, 1, b"\xff\xff"),
    "EVPN": mp(25, 70, b"\x04\x0a\x00\x00\x05\x00\x02\xff"),
    "BGP-LS": mp(16388, 71, b"\x04\x0a\x00\x00\x05\x00\x00\x01\xff\xff"),
    "FlowSpec": mp(1, 133, b"\x00\x00\xff"),
    "labelled": mp(1, 4, b"\x04\x0a\x00\x00\x05\x00\x00"),
    "unheard of": mp(77, 77, b"\x00\x00"),
}


@pytest.mark.parametrize("more", FAMILIES.values(), ids=FAMILIES.keys())
def test_a_family_that_was_not_negotiated_is_ignored(more: bytes) -> None:
    assert judged(update(ORIGIN + PATH + more)) == Verdict()
    assert judged(update(more.replace(b"\x90\x0e", b"\x90\x0f"))) == Verdict()
    assert judged(with_(more)).messages == (with_(),)


NARROW = attrs.evolve(TERMS, wide=False)


@pytest.mark.parametrize(
    ("short", "long", "merged"),
    [
        (((2, (64999,)),), (), ((2, (64999,)),)),
        (((2, (64999, 23456)),), ((2, (70000,)),), ((2, (64999,)), (2, (70000,)))),
        (((2, (23456,)),), ((2, (1, 70000)),), ((2, (23456,)),)),
        (((1, (5, 6)), (2, (23456,))), ((2, (70000,)),), ((1, (5, 6)), (2, (70000,)))),
        (((2, (23456,)),), ((2, (0,)),), ((2, (23456,)),)),
    ],
    ids=["no AS4_PATH", "in front", "AS4_PATH too long", "a set is one", "AS4_PATH malformed"],
)
def test_paths_of_two_octets_are_read_as_such(
    short: tuple[tuple[int, tuple[int, ...]], ...],
    long: tuple[tuple[int, tuple[int, ...]], ...],
    merged: tuple[tuple[int, tuple[int, ...]], ...],
) -> None:
    """RFC 6793 section 4.2.3."""
    wide = attribute(0xC0, 17, path(*long)[3:]) if long else b""
    said = update(ORIGIN + path(*short, width=2) + NEXT_HOP + wide, A)
    assert judged(said, NARROW).messages == (update(ORIGIN + path(*merged) + NEXT_HOP, A),)


@pytest.mark.parametrize(
    ("given", "wide", "kept"),
    [
        ("fc010a000009", "", "0000fc010a000009"),
        ("5ba00a000009", "000111700a000009", "000111700a000009"),
        ("fc010a000009", "000111700a000009", "0000fc010a000009"),
    ],
    ids=["alone", "AS_TRANS", "not AS_TRANS"],
)
def test_an_aggregator_of_two_octets_is_read_as_such(given: str, wide: str, kept: str) -> None:
    more = attribute(0xC0, 7, bytes.fromhex(given))
    more += attribute(0xC0, 18, bytes.fromhex(wide)) if wide else b""
    assert judged(with_(more), NARROW).messages == (with_(attribute(0xC0, 7, bytes.fromhex(kept))),)


@pytest.mark.parametrize("numbers", [(), (64577 + 1,), (5, 64999)])
def test_a_path_of_another_as_begins_with_it(numbers: tuple[int, ...]) -> None:
    attributes = ORIGIN + (path((2, numbers)) if numbers else PATH) + NEXT_HOP
    assert judged(update(attributes, A), EXTERNAL).messages == (WITHDRAWN,)


ENDS = {
    "marker (4271 6.1)": (b"\xfe" + with_()[1:], (1, 1), b""),
    "a length of 18 (4271 6.1)": (b"\xff" * 16 + b"\x00\x12\x04", (1, 2), b"\x00\x12"),
    "a length of 4097 (4271 6.1)": (b"\xff" * 16 + b"\x10\x01\x02", (1, 2), b"\x10\x01"),
    "KEEPALIVE of 20 octets (4271 6.1)": (message(4, b"x"), (1, 2), b"\x00\x14"),
    "OPEN of 28 octets (4271 6.1)": (message(1, bytes(9)), (1, 2), b"\x00\x1c"),
    "UPDATE of 22 octets (4271 6.1)": (message(2, bytes(3)), (1, 2), b"\x00\x16"),
    "NOTIFICATION of 20 octets (4271 6.1)": (message(3, b"x"), (1, 2), b"\x00\x14"),
    "type 0 (4271 6.1)": (message(0, b""), (1, 3), b"\x00"),
    "type 6 (4271 6.1)": (message(6, b""), (1, 3), b"\x06"),
    "version 3 (4271 6.2)": (opening(version=3), (2, 1), b"\x00\x04"),
    "hold time of 2 s (4271 6.2)": (opening(hold=2), (2, 6), b""),
    "AS 0 (7607)": (opening(asn=0), (2, 2), b""),
    "wide AS 0 (7607)": (opening(b"\x02\x06\x41\x04" + bytes(4)), (2, 2), b""),
    "parameters longer than the OPEN": (opening(b"", claimed=9), (2, 0), b""),
    "parameters shorter than the OPEN": (opening(b"\x02\x00", claimed=0), (2, 0), b""),
    "a parameter that overruns": (opening(b"\x02\x09\x01\x04"), (2, 0), b""),
    "a parameter of one octet": (opening(b"\x02"), (2, 0), b""),
    "a capability that overruns": (opening(b"\x02\x04\x01\x09\x00\x01"), (2, 0), b""),
    "an AS number of 2 octets": (opening(b"\x02\x04\x41\x02\x00\x01"), (2, 0), b""),
    "a family of 3 octets": (opening(b"\x02\x05\x01\x03\x00\x01\x00"), (2, 0), b""),
    "long parameters that overrun (9072)": (opening(b"\xff\xff\xff\x02", claimed=255), (2, 0), b""),
    "long parameters, cut off (9072)": (opening(b"\xff", claimed=1), (2, 0), b""),
    "authentication (4271 6.2)": (opening(b"\x01\x01\x00"), (2, 4), b""),
    "withdrawn overruns (7606 3 a)": (message(2, b"\x00\x09\x00\x00"), (3, 1), b""),
    "attributes overrun (7606 3 a)": (message(2, b"\x00\x00\x00\x09"), (3, 1), b""),
    "no length of attributes (7606 3 a)": (message(2, b"\x00\x01\x00\x00"), (3, 1), b""),
    "withdrawn /33 (7606 5.3)": (message(2, b"\x00\x06\x21" + bytes(5) + b"\x00\x00"), (3, 10), b""),
    "announced /33 (7606 5.3)": (message(2, update(USUAL)[19:] + b"\x21" + bytes(5)), (3, 10), b""),
    "announced, cut off (7606 5.3)": (message(2, update(USUAL)[19:] + b"\x20\x0a"), (3, 10), b""),
    "MP_REACH twice (7606 3 g)": (update(ORIGIN + attribute(0x80, 14, MP_A) * 2), (3, 1), b""),
    "MP_UNREACH twice (7606 3 g)": (update(attribute(0x80, 15, b"\x00\x01\x01") * 2), (3, 1), b""),
    "MP_REACH of 4 octets (7606 7.11)": (
        update(attribute(0x80, 14, b"\x00\x01\x01\x00")),
        (3, 9),
        attribute(0x80, 14, b"\x00\x01\x01\x00"),
    ),
    "MP_REACH with 5 octets of next hop (7606 7.11)": (
        update(attribute(0x80, 14, b"\x00\x01\x01\x05" + bytes(6))),
        (3, 9),
        attribute(0x80, 14, b"\x00\x01\x01\x05" + bytes(6)),
    ),
    "MP_REACH that cannot be read (7606 5.3)": (
        update(attribute(0x80, 14, MP_A[:-1])),
        (3, 9),
        attribute(0x80, 14, MP_A[:-1]),
    ),
    "MP_UNREACH of 2 octets (7606 7.12)": (
        update(attribute(0x80, 15, b"\x00\x01")),
        (3, 9),
        attribute(0x80, 15, b"\x00\x01"),
    ),
    "an unknown well-known attribute (4271 6.3)": (
        with_(attribute(0x40, 200, b"x")),
        (3, 2),
        attribute(0x40, 200, b"x"),
    ),
    "malformed, and of no prefix (7606 5.2)": (update(ORIGIN + attribute(0xC0, 8, b"x")), (3, 1), b""),
    "refresh of 22 octets (7313 5)": (refresh(b"\x00\x01\x00"), (7, 1), refresh(b"\x00\x01\x00")),
    "refresh with filters (5291)": (
        refresh(b"\x00\x01\x00\x01\x01\x80\x00\xff"),
        (7, 1),
        refresh(b"\x00\x01\x00\x01\x01\x80\x00\xff"),
    ),
}


@pytest.mark.parametrize(("said", "code", "data"), ENDS.values(), ids=ENDS.keys())
def test_what_cannot_be_mended_ends_the_session(said: bytes, code: tuple[int, int], data: bytes) -> None:
    fault = judged(said).fault
    assert fault is not None
    assert (fault.code, fault.data) == (code, data)
    assert fault.text


@pytest.mark.parametrize(
    "body",
    [b"\x00\x02\x00\x01", b"\x00\x01\x01\x01", b"\x00\x01\x02\x01", b"\x00\x01\x09\x01", b"\x4d\x4d\x00\x4d"],
    ids=["IPv6", "begin", "end", "unknown subtype", "unknown family"],
)
def test_a_refresh_of_something_else_is_ignored(body: bytes) -> None:
    assert judged(refresh(body)) == Verdict()


def test_a_stream_is_cut_wherever_it_is_torn() -> None:
    said = [opening(), with_(), update(), notification(6, 4, b"x"), refresh()]
    for size in (1, 2, 18, 19, 20, 100, 5000):
        framer, whole = Framer(), b"".join(said)
        cut = [each for at in range(0, len(whole), size) for each in framer.feed(whole[at : at + size])]
        assert cut == said


def test_nothing_is_read_after_a_bad_header() -> None:
    found = list(Framer().feed(with_() + bytes(30) + with_()))
    assert found[0] == with_()
    assert isinstance(found[1], Fault)
    assert len(found) == 2


def test_a_bad_header_is_not_waited_for() -> None:
    (fault,) = Framer().feed(b"\xff" * 16 + b"\xff\xff\x02")
    assert isinstance(fault, Fault)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", ""),
        (b"\x05hello", "hello"),
        (b"\x05hel", ""),
        (b"\x04a\xff\nb", "a\ufffd?b"),
        (b"\xff" + b"a" * 300, "a" * 128),
    ],
)
def test_words_of_a_shutdown_are_shown_as_far_as_they_can_be(data: bytes, said: str) -> None:
    assert shutdown_words(data) == said


def test_blocks_of_attributes_are_judged_once_and_forgotten() -> None:
    screen = Screen(TERMS)
    for number in range(500):
        said = with_(attribute(0xC0, 8, number.to_bytes(4)))
        assert screen.judge(said) == screen.judge(said) == Verdict(messages=(said,))
    assert len(screen._seen) <= 64  # its memory is bounded
