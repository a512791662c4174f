"""What goes out: as many prefixes in a message as fit, the newest of each prefix, and to which neighbours."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv4Network

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routerd_bgp_ryu.child.outbox import Best, Outbox
from routerd_bgp_ryu.packing import announcements, wire, withdrawals
from routerd_bgp_ryu.screen.frame import LONGEST

prefixes = st.builds(
    lambda address, length: IPv4Network((address, length), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)


def read(message: bytes) -> tuple[list[IPv4Network], bytes, list[IPv4Network]]:
    """Return what an UPDATE withdraws, its attributes, and what it announces."""
    assert message[:16] == b"\xff" * 16
    assert message[16:19] == struct.pack("!HB", len(message), 2)
    assert len(message) <= LONGEST
    gone = int.from_bytes(message[19:21])
    size = int.from_bytes(message[21 + gone : 23 + gone])
    at = 23 + gone
    return list(nlri(message[21 : 21 + gone])), message[at : at + size], list(nlri(message[at + size :]))


def nlri(routes: bytes) -> Iterator[IPv4Network]:
    while routes:
        end = 1 + (routes[0] + 7) // 8
        yield IPv4Network((int.from_bytes(routes[1:end].ljust(4, b"\0")), routes[0]))
        routes = routes[end:]


class TestPacking:
    @given(wanted=st.lists(prefixes), attributes=st.binary(max_size=4000))
    def test_everything_is_announced_in_order_and_no_message_is_too_long(
        self, wanted: list[IPv4Network], attributes: bytes
    ) -> None:
        found = [read(each) for each in announcements(attributes, map(wire, wanted))]
        assert [prefix for _, _, reach in found for prefix in reach] == wanted
        assert all((gone, block) == ([], attributes) for gone, block, _ in found)

    @given(wanted=st.lists(prefixes))
    def test_everything_is_withdrawn(self, wanted: list[IPv4Network]) -> None:
        found = [read(each) for each in withdrawals(map(wire, wanted))]
        assert [prefix for gone, _, _ in found for prefix in gone] == wanted
        assert all((block, reach) == (b"", []) for _, block, reach in found)

    def test_a_message_is_full_before_the_next_begins(self) -> None:
        hosts = [IPv4Network(0x0A000000 + number) for number in range(3000)]
        sizes = [len(each) for each in announcements(bytes(50), map(wire, hosts))]
        assert len(sizes) == -(-3000 // ((LONGEST - 23 - 50) // 5))
        assert min(sizes[:-1]) > LONGEST - 5

    def test_nothing_to_say_is_no_message(self) -> None:
        assert list(announcements(b"", [])) == list(withdrawals([])) == []

    def test_attributes_that_leave_no_room_are_refused(self) -> None:
        with pytest.raises(ValueError, match="5 bytes of prefix do not fit into 3"):
            list(announcements(bytes(LONGEST - 26), [wire(IPv4Network("10.0.0.1/32"))]))


HOST = wire(IPv4Network("10.88.1.1/32"))
BEST = Best(
    path=None,
    source=None,
    prefix=HOST,
    originator=None,
    internal=False,
    of_client=False,
    to_nobody=False,
    to_inside=False,
    key=(),
)


class TestOutbox:
    def test_the_newest_of_a_prefix_takes_the_place_of_what_waits(self) -> None:
        outbox, newer = Outbox(), attrs.evolve(BEST, key=(1,))
        outbox.announce(BEST)
        outbox.announce(newer)
        assert outbox.take() == {HOST: newer}
        assert outbox.take() == {}

    def test_what_waited_to_be_announced_is_withdrawn_all_the_same(self) -> None:
        outbox = Outbox()
        outbox.announce(BEST)
        assert outbox.withdraw(HOST)
        assert outbox.take() == {HOST: None}
        assert outbox.held == set()

    def test_what_a_neighbour_does_not_have_is_not_withdrawn(self) -> None:
        outbox = Outbox()
        assert not outbox.withdraw(HOST)
        assert outbox.take() == {}

    def test_a_flap_of_any_length_waits_as_one_entry(self) -> None:
        outbox = Outbox()
        for _ in range(1000):
            outbox.announce(BEST)
            outbox.withdraw(HOST)
        outbox.announce(BEST)
        assert outbox.take() == {HOST: BEST}

    def test_nothing_is_left_of_a_session_that_is_over(self) -> None:
        outbox = Outbox()
        outbox.announce(BEST)
        outbox.others.append(object())
        outbox.clear()
        assert (outbox.take(), outbox.held, outbox.others) == ({}, set(), [])


THEM, SOURCE = object(), object()
LEARNED = attrs.evolve(BEST, source=SOURCE, internal=True, originator="10.99.0.1")


@pytest.mark.parametrize(
    ("best", "external", "client", "told"),
    [
        (BEST, False, False, True),
        (BEST, True, False, True),
        (LEARNED, False, False, False),
        (LEARNED, False, True, True),
        (LEARNED, True, False, True),
        (attrs.evolve(LEARNED, of_client=True), False, False, True),
        (attrs.evolve(LEARNED, of_client=True), False, True, True),
        (attrs.evolve(LEARNED, source=THEM), False, True, False),
        (attrs.evolve(LEARNED, originator="10.99.0.9"), False, True, False),
        (attrs.evolve(LEARNED, internal=False), False, False, True),
        (attrs.evolve(LEARNED, to_inside=True), True, False, False),
        (attrs.evolve(LEARNED, to_inside=True), False, True, True),
        (attrs.evolve(LEARNED, to_nobody=True), False, True, False),
        (attrs.evolve(BEST, to_nobody=True), False, True, False),
    ],
)
def test_whom_a_path_is_for(best: Best, external: bool, client: bool, told: bool) -> None:
    """RFC 4456 section 6, RFC 1997; never to its source nor to its originator."""
    assert best.is_for(THEM, external=external, client=client, router_id="10.99.0.9") is told
