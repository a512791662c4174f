"""What is remembered and logged of malformed messages is bounded, whatever a neighbour sends."""

from __future__ import annotations

import logging
from ipaddress import IPv4Address

import pytest

from routerd_bgp_ryu.child.malformed import Malformed
from routerd_bgp_ryu.child.quiet import Quiet
from routerd_bgp_ryu.screen import Screen, Terms
from routerd_bgp_ryu.testing.raw import USUAL, attribute, update

ONE, OTHER = "192.0.2.1", "192.0.2.2"
ADDRESS = IPv4Address("10.0.0.1")
SCREEN = Screen(Terms(asn=64577, peer_asn=64577, router_id=ADDRESS, cluster_id=ADDRESS, local=ADDRESS))
A, B = "10.88.1.1/32", "10.88.2.1/32"


def reasons(malformed: Malformed, neighbour: str = ONE, entered: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the reasons for which prefixes are rejected."""
    return {each["prefix"]: each["reason"] for each in malformed.rejected(neighbour, entered)}


def note(malformed: Malformed, said: bytes, neighbour: str = ONE) -> str:
    """Take note of an UPDATE."""
    return malformed.note(neighbour, SCREEN.judge(said))


def test_prefixes_are_rejected_until_they_are_named_again() -> None:
    malformed = Malformed()
    assert note(malformed, update(USUAL[4:], A, B)).endswith(
        "ORIGIN is missing; treated as withdrawal (RFC 7606)"
    )
    assert reasons(malformed) == {A: "missing-attribute", B: "missing-attribute"}
    assert reasons(malformed, entered=(B,)) == {A: "missing-attribute"}
    assert reasons(malformed, OTHER) == {}
    assert note(malformed, update(USUAL, A)) == ""
    assert reasons(malformed) == {B: "missing-attribute"}
    assert note(malformed, update(withdrawn=(B,))) == ""
    assert reasons(malformed) == {}


def test_nothing_is_said_of_what_withdraws_nothing() -> None:
    malformed = Malformed()
    assert note(malformed, update(USUAL + attribute(0x40, 6, b"x"), A)) == ""
    assert note(malformed, update(USUAL + attribute(0x80, 9, ADDRESS.packed), A)) == ""
    assert reasons(malformed) == {}


def test_only_so_many_prefixes_are_remembered() -> None:
    malformed = Malformed()
    for high in range(6):
        note(malformed, update(USUAL[4:], *(f"10.{high}.{low}.0/24" for low in range(250))))
    assert len(reasons(malformed)) == 1000
    malformed.drop(ONE)
    assert reasons(malformed) == {}


def test_the_log_grows_by_the_logarithm(caplog: pytest.LogCaptureFixture) -> None:
    malformed = Malformed()
    with caplog.at_level(logging.WARNING, "routerd.bgp"):
        for _ in range(1000):
            note(malformed, update(USUAL[4:], A))
            malformed.count(OTHER, "sent malformed UPDATE (3/1)")
    assert len(caplog.records) == 20
    assert "(512 malformed messages so far)" in caplog.text


def record(name: str, text: str) -> logging.LogRecord:
    """Return a line of a log."""
    return logging.LogRecord(name, logging.ERROR, "", 0, "%s", (text,), None)


def test_the_library_writes_few_and_short_lines() -> None:
    now = [0.0]
    quiet = Quiet(lambda: now[0])
    lines = [record("bgpspeaker.speaker", "x" * 9000) for _ in range(100)]
    assert sum(quiet.filter(each) for each in lines) == 20
    assert len(lines[0].getMessage()) == 500
    now[0] = 11.0
    later = record("bgpspeaker.peer", "y")
    assert quiet.filter(later)
    assert later.getMessage() == "y (80 lines before it are left out)"


def test_our_own_lines_are_all_written() -> None:
    quiet = Quiet(lambda: 0.0)
    lines = [record("routerd.bgp", "x" * 9000) for _ in range(100)]
    assert all(quiet.filter(each) for each in lines)
    assert len(lines[-1].getMessage()) == 9000
