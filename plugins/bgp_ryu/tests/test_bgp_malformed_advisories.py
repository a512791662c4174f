"""The messages of published advisories against BGP daemons, and what becomes of each here.

Reassembled from what the advisories and the fixes say. Not here, because no BGP message is concerned:
CVE-2024-31950 and CVE-2024-31951 (OSPF), CVE-2025-43970 (MRT files), CVE-2025-43973 (RPKI to router).
"""

from __future__ import annotations

import attrs
import pytest

from routerd_bgp_ryu.screen import Fault, Framer, Screen, Verdict
from routerd_bgp_ryu.testing.raw import (
    NEXT_HOP,
    ORIGIN,
    PATH,
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

A = "10.88.1.1/32"
WITHDRAWN = Verdict(messages=(update(withdrawn=(A,)),), withdrawn=(prefix(A),))
MARKER = b"\xff" * 16
WIDE = b"\x41\x04\x00\x00\xfc\x41"


def end(code: int, subcode: int) -> Verdict:
    """Return the verdict that ends the session."""
    return Verdict(fault=Fault(code=(code, subcode), text=""))


def unchanged(said: bytes) -> tuple[bytes, Verdict]:
    """Return a message that is passed on as it is."""
    return said, Verdict(messages=(said,))


def capability(kind: int, value: bytes) -> tuple[bytes, Verdict]:
    """Return an OPEN with a capability that is nothing to us, whatever it holds."""
    said = opening(b"\x02" + bytes([8 + len(value)]) + WIDE + bytes([kind, len(value)]) + value)
    return said, Verdict(messages=(opening(b"\x02\x06" + WIDE),))


def opaque(kind: int, value: bytes, flags: int = 0xC0) -> tuple[bytes, Verdict]:
    """Return an UPDATE whose odd attribute is nothing to us: passed on, marked as partial."""
    said = update(USUAL + attribute(flags, kind, value), A)
    return said, Verdict(messages=(update(USUAL + attribute(flags | 0x20, kind, value), A),))


def dropped(kind: int, value: bytes) -> tuple[bytes, Verdict]:
    """Return an UPDATE whose odd attribute ends here, because it is optional and non-transitive."""
    return update(USUAL + attribute(0x80, kind, value), A), Verdict(messages=(update(USUAL, A),))


def foreign(afi: int, safi: int, rest: bytes) -> tuple[bytes, Verdict]:
    """Return an UPDATE with prefixes of a family that was not negotiated: they are ignored."""
    family = afi.to_bytes(2) + bytes([safi])
    return update(USUAL + attribute(0x80, 14, family + rest), A), Verdict(messages=(update(USUAL, A),))


EOR = attribute(0x80, 15, b"\x00\x01\x01")
SHORT = attribute(0x40, 3, b"\x0a\x00\x00")
TWICE = attribute(0x80, 10, b"\x0a\x00\x00\x08" * 2)

ADVISORIES: dict[str, tuple[bytes, Verdict]] = {
    # --- FRR ---
    "CVE-2022-36440 OPEN: parameters end inside a capability": (opening(b"\x02\x03\x41\x04\x00"), end(2, 0)),
    "CVE-2022-37032 CAPABILITY message with a length that overruns": (
        message(6, b"\x00\x01\xff\x00"),
        end(1, 3),
    ),
    "CVE-2022-40302 OPEN: long parameters without their length": (opening(b"\xff", claimed=255), end(2, 0)),
    "CVE-2022-40318 OPEN: long parameter that overruns": (
        opening(b"\xff\x00\x04\x02\x00\xff\x41", claimed=255),
        end(2, 0),
    ),
    "CVE-2022-43681 OPEN ends with the type of a parameter": (
        opening(b"\x02\x06" + WIDE + b"\x02"),
        end(2, 0),
    ),
    "CVE-2023-31489 OPEN: long-lived graceful restart of 3 octets": capability(71, b"\x00\x01\x01"),
    "CVE-2023-31490 Prefix-SID with a sub-TLV that overruns": opaque(40, b"\x05\x00\x03\x00\xff\xff"),
    "CVE-2023-38406 FlowSpec prefix of length 0": foreign(1, 133, b"\x00\x00\x00"),
    "CVE-2023-38407 labelled prefix that ends early": foreign(1, 4, b"\x04\x0a\x00\x00\x05\x00\x58\x00\x00"),
    "CVE-2023-38802 tunnel encapsulation, corrupted": opaque(23, b"\x00\x08\xff\xff\x00"),
    "CVE-2023-41358 prefixes and no attributes at all": (update(b"", A), WITHDRAWN),
    "CVE-2023-41359 AIGP of 1 octet": dropped(26, b"\x01"),
    "CVE-2023-41360 ROUTE-REFRESH that ends at its filters": (refresh(b"\x00\x01\x00\x01\x01"), end(7, 1)),
    "CVE-2023-41361 OPEN: software version that overruns": (
        opening(b"\x02\x09" + WIDE + b"\x4b\xff\x41"),
        end(2, 0),
    ),
    "CVE-2023-41909 FlowSpec prefixes and no attributes": (
        update(attribute(0x80, 14, b"\x00\x01\x85\x00\x00\x03\x01\x08\x0a")),
        Verdict(),
    ),
    "CVE-2023-46752 MP_REACH_NLRI whose next hop overruns": (
        update(ORIGIN + PATH + attribute(0x80, 14, b"\x00\x01\x01\x04\x0a\x00")),
        end(3, 9),
    ),
    "CVE-2023-46753 prefixes with an unknown attribute only": (
        update(attribute(0xC0, 31, bytes(16)), A),
        WITHDRAWN,
    ),
    "CVE-2023-47234 MP_UNREACH_NLRI, and prefixes without attributes": (
        update(attribute(0x80, 15, b"\x00\x01\x01" + prefix(A)), A),
        WITHDRAWN,
    ),
    "CVE-2023-47235 End-of-RIB with malformed attributes and prefixes": (
        update(EOR + ORIGIN + SHORT, A),
        WITHDRAWN,
    ),
    "CVE-2024-31948 Prefix-SID that ends in its header": opaque(40, b"\x01\x00"),
    "CVE-2024-31949 CAPABILITY message with a family of length 0": (
        message(6, b"\x00\x01\x00"),
        end(1, 3),
    ),
    "CVE-2024-44070 tunnel encapsulation: value longer than the rest": opaque(
        23, b"\x00\x08\x00\x09\x01\x7f\x00"
    ),
    "CVE-2019-5892 attribute 255": opaque(255, b"\x00\x01\x00"),
    "FRR 22563 malformed, and no prefix (RFC 7606 5.2)": (update(b"\x40\x01\x20\x00"), end(3, 1)),
    "FRR 22586 plain prefixes, and the next hop of MP_REACH_NLRI only": (
        update(ORIGIN + PATH + attribute(0x80, 14, b"\x00\x01\x01\x04\x0a\x00\x00\x05\x00"), A),
        WITHDRAWN,
    ),
    "FRR 19336 Prefix-SID of zeros": opaque(40, bytes(10)),
    "FRR 21827 BGP-LS with a TLV that overruns": dropped(29, b"\x04\x00\xff\xff\x00"),
    # --- Quagga ---
    "CVE-2018-5378 an attribute longer than the UPDATE": (update(USUAL + b"\xd0\x08\xff\xff", A), WITHDRAWN),
    "CVE-2018-5379 CLUSTER_LIST with unknown attributes, twice": (
        update(USUAL + TWICE * 2 + attribute(0xE0, 99, b"x") * 2, A),
        Verdict(messages=(update(USUAL + TWICE + attribute(0xE0, 99, b"x"), A),)),
    ),
    "CVE-2018-5380 NOTIFICATION with codes beyond every table": unchanged(notification(255, 255)),
    "CVE-2018-5381 OPEN: a family of 3 octets": (opening(b"\x02\x05\x01\x03\x00\x01\x00"), end(2, 0)),
    "CVE-2017-16227 a path of more than 255 ASes": (
        update(ORIGIN + attribute(0x50, 2, (b"\x02\xff" + b"\x00\x00\xfd\xe9" * 255) * 2) + NEXT_HOP, A),
        WITHDRAWN,
    ),
    "CVE-2016-2342 VPN prefix longer than an address": foreign(1, 128, b"\x0c" + bytes(13) + b"\xff" * 9),
    "CVE-2012-0255 OPEN: AS number of 0 octets": (opening(b"\x02\x02\x41\x00"), end(2, 0)),
    "CVE-2012-1820 OPEN: filter capability without entries": capability(3, b"\x00"),
    "CVE-2011-3327 extended communities of 9 octets": (
        update(USUAL + attribute(0xC0, 16, bytes(9)), A),
        WITHDRAWN,
    ),
    "CVE-2010-1675 AS_PATHLIMIT": opaque(21, b"\x01"),
    "CVE-2010-2948 ROUTE-REFRESH with a filter that overruns": (
        refresh(b"\x00\x01\x00\x01\x01\x80\xff\xff" + bytes(40)),
        end(7, 1),
    ),
    "CVE-2010-2949 a path with a segment of type 8": (
        update(ORIGIN + attribute(0x40, 2, b"\x08\x01\x00\x00\xfd\xe9") + NEXT_HOP, A),
        WITHDRAWN,
    ),
    "CVE-2007-1995 MP_UNREACH_NLRI of 2 octets": (update(attribute(0x80, 15, b"\x00\x01")), end(3, 9)),
    # --- GoBGP ---
    "CVE-2023-46565 an UPDATE that is wrong and holds nothing": (update(b"\xc0\x08\x05\x00"), end(3, 1)),
    "CVE-2025-43971 OPEN: software version of length 0": capability(75, b"\x00"),
    "CVE-2025-43972 FlowSpec that ends after its length": foreign(1, 133, b"\x00\x00\xf0"),
    "CVE-2026-41642 an unknown well-known attribute": (
        update(USUAL + attribute(0x40, 77, b"x"), A),
        end(3, 2),
    ),
    "CVE-2026-41643 AS4_PATH longer than AS_PATH": (
        update(USUAL + attribute(0xC0, 17, b"\x02\x02" + bytes(8)), A),
        Verdict(messages=(update(USUAL, A),)),
    ),
    "CVE-2026-42285 lengths of attributes that disagree": (update(USUAL + b"\xc0\x08\x40\x00", A), WITHDRAWN),
    "GoBGP 3305 NEXT_HOP of 0 octets": (update(ORIGIN + PATH + attribute(0x40, 3, b""), A), WITHDRAWN),
    "GoBGP 3392 ORIGIN that is not transitive": (
        update(attribute(0x00, 1, b"\x00") + PATH + NEXT_HOP, A),
        WITHDRAWN,
    ),
    # --- others ---
    "CVE-2019-16159 BIRD: shutdown with 255 octets of words": (
        notification(6, 2, b"\xff" * 256),
        Verdict(messages=(notification(6, 2, b"\xff" * 128),)),
    ),
    "BIRD 2.0.8: ONLY_TO_CUSTOMER of 1024 octets": opaque(35, bytes(1024), flags=0xD0),
    "CVE-2023-38283 OpenBGPD: an attribute that is empty": opaque(23, b""),
    "CVE-2023-4481 Junos: entropy label that nobody knows": opaque(28, b"\x00"),
    "CVE-2023-40457 EXOS: attribute 21, corrupted": opaque(21, b"\xff" * 40),
    "CVE-2009-2055 IOS XR: an unknown attribute": opaque(99, bytes(300), flags=0xD0),
    "ATTR_SET inside of ATTR_SET": opaque(128, b"\x00\x00\xfd\xe9" + attribute(0xC0, 128, bytes(4))),
    "PMSI tunnel of 1 octet": opaque(22, b"\x00"),
    "an attribute of type 0": opaque(0, b"\x00"),
    "OPEN: role of 2 octets": capability(9, b"\x00\x09"),
    "OPEN: name that ends early": capability(73, b"\xff\x61"),
    "a marker of zeros": (bytes(16) + b"\x00\x13\x04", end(1, 1)),
    "a message of length 0": (MARKER + b"\x00\x00\x02", end(1, 2)),
}


@pytest.mark.parametrize(("said", "becomes"), ADVISORIES.values(), ids=ADVISORIES.keys())
def test_no_message_of_an_advisory_does_more_than_it_may(said: bytes, becomes: Verdict) -> None:
    (whole,) = Framer().feed(said)
    verdict = Verdict(fault=whole) if isinstance(whole, Fault) else Screen(TERMS).judge(whole)
    assert (verdict.messages, verdict.withdrawn) == (becomes.messages, becomes.withdrawn)
    codes = [each.fault and each.fault.code for each in (verdict, becomes)]
    assert codes[0] == codes[1]


def test_an_attribute_that_only_others_know_reaches_external_neighbours_as_it_came() -> None:
    """What hit FRR, Junos and EXOS came from far away, through routers that did not know it."""
    terms = attrs.evolve(TERMS, peer_asn=64999)
    path = attribute(0x40, 2, b"\x02\x01\x00\x00\xfd\xe7")
    said = update(ORIGIN + path + NEXT_HOP + attribute(0xE0, 40, b"\x05"), A)
    assert Screen(terms).judge(said) == Verdict(messages=(said,))
