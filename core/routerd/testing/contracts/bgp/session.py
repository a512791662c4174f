"""What a BGP speaker must do about a session: RFC 4271 sections 4.2, 6 and 8, RFC 5492, RFC 6793."""

from __future__ import annotations

import asyncio
import struct
import time
from ipaddress import IPv4Address
from itertools import pairwise
from typing import Any

import attrs
import pytest

from routerd.model.session import Timers
from routerd.testing.bgp import (
    Capability,
    Code,
    Conversation,
    Keepalive,
    Notification,
    Open,
    Update,
    path_attributes,
)
from routerd.testing.bgp.wire import IPV4_UNICAST, ROUTE_REFRESH
from routerd.testing.contracts.bgp.world import FAST, BgpWorldContract, OpenWorld, World, host, learned_from

COLLISION = (6, 7)
CEASES = {(6, 2), (6, 3)}
"""Administrative shutdown, peer de-configured (RFC 4486 section 3)."""

SOON = 5.0
"""Seconds in which others must have lost a route; a busy machine needs some of them."""

WIDE_ASN = 4_200_000_001


async def _refused(talk: Conversation) -> tuple[int, int]:
    said = await talk.until_ended()
    assert said is not None, "the connection was ended without a NOTIFICATION"
    return said.error


class BgpSessionRules(BgpWorldContract):
    """Rules of one session. Part of `BgpContract`."""

    @pytest.mark.asyncio
    async def test_open_says_who_we_are_and_what_we_can(self, open_world: OpenWorld) -> None:
        """Version 4, our AS number, hold time and BGP Identifier; IPv4 unicast, route refresh (4271/4.2)."""
        async with open_world() as world:
            await world.admit(0)
            talk = await world.dial(0)
            opened = await talk.open(world.opening(0))
            assert opened.version == 4
            assert opened.my_as == opened.asn == world.speaker.asn
            assert opened.hold_time == FAST.hold
            assert opened.router_id == world.speaker.router_id
            assert {IPV4_UNICAST, ROUTE_REFRESH} <= set(opened.capabilities)

    @pytest.mark.asyncio
    async def test_as_numbers_have_four_bytes(self, open_world: OpenWorld) -> None:
        """AS_TRANS stands in the field of two bytes, the number in the capability (RFC 6793 section 4.1)."""
        async with open_world(asn=WIDE_ASN) as world:
            await world.admit(0, host(1))
            talk = await world.establish(0)
            opened = talk.all(Open)[0]
            assert (opened.my_as, opened.asn) == (23456, WIDE_ASN)
            await world.announce(talk, 0, host(1), as_path=[WIDE_ASN + 1, 64999])
            learned = await world.until_routes(lambda routes: routes.routes)
            assert learned.routes[0].as_path == (WIDE_ASN + 1, 64999)

    @pytest.mark.asyncio
    async def test_a_peer_with_narrow_as_numbers_is_understood(self, open_world: OpenWorld) -> None:
        """It gets AS_TRANS and AS4_PATH; what it says is put together (RFC 6793 section 4.2)."""
        async with open_world(asn=WIDE_ASN) as world:
            await world.advertise(host(9))
            await world.admit(0, host(1), peer_asn=65010, route_reflector_client=False)
            opening = attrs.evolve(world.opening(0, asn=65010), capabilities=(IPV4_UNICAST,))
            talk = await world.establish(0, opening)
            await talk.until(lambda: host(9) in talk.routes, "own route")
            path = talk.routes[host(9)]
            narrow, wide = path.get(Code.AS_PATH), path.get(Code.AS4_PATH)
            assert narrow is not None
            assert narrow.value == struct.pack("!BBH", 2, 1, 23456)
            assert wide is not None
            assert wide.value == struct.pack("!BBI", 2, 1, WIDE_ASN)
            narrow = attrs.evolve(narrow, value=struct.pack("!BBHHH", 2, 3, 65010, 23456, 64999))
            wide = attrs.evolve(wide, value=struct.pack("!BBII", 2, 2, WIDE_ASN + 1, 64999))
            usual = path_attributes(world.place.peers[0], local_preference=None, more=[wide])
            made = tuple(narrow if each.code == Code.AS_PATH else each for each in usual)
            await talk.send(Update(attributes=made, reach=(host(1),)))
            learned = await world.until_routes(lambda routes: routes.routes)
            assert learned.routes[0].as_path == (65010, WIDE_ASN + 1, 64999)

    @pytest.mark.parametrize(
        "offered", [(), (Capability(200, b"what"), Capability(71, b"")), (ROUTE_REFRESH,)], ids=len
    )
    @pytest.mark.asyncio
    async def test_capabilities_are_no_condition(
        self, open_world: OpenWorld, offered: tuple[Capability, ...]
    ) -> None:
        """A peer with none, or unknown ones, has IPv4 unicast all the same (RFC 5492/3, RFC 4760/8)."""
        async with open_world() as world:
            await world.advertise(host(9))
            await world.admit(0, host(1))
            talk = await world.establish(0, attrs.evolve(world.opening(0), capabilities=offered))
            await talk.until(lambda: host(9) in talk.routes, "own route")
            await world.announce(talk, 0, host(1))
            await world.until_routes(lambda routes: learned_from(routes, world.place.peers[0]) == {host(1)})

    @pytest.mark.parametrize(
        ("wrong", "error"),
        [({"version": 3}, (2, 1)), ({"hold_time": 1}, (2, 6)), ({"hold_time": 2}, (2, 6))],
        ids=["version 3", "hold time 1", "hold time 2"],
    )
    @pytest.mark.asyncio
    async def test_an_unacceptable_open_is_refused_with_its_error(
        self, open_world: OpenWorld, wrong: dict[str, Any], error: tuple[int, int]
    ) -> None:
        """Unsupported version 2/1, unacceptable hold time 2/6; a right OPEN comes in later (4271/6.2)."""
        async with open_world() as world:
            await world.admit(0)
            talk = await world.dial(0)
            await talk.send(attrs.evolve(world.opening(0), **wrong))
            assert await _refused(talk) == error
            assert not talk.all(Keepalive), "the OPEN was confirmed"
            state = await world.until_state(0, lambda state: state.last_error)
            assert not state.established
            await world.establish(0)

    @pytest.mark.asyncio
    async def test_keepalives_come_at_a_third_of_the_shorter_hold_time(self, open_world: OpenWorld) -> None:
        """The negotiated hold time is the smaller of both (RFC 4271 sections 4.2 and 4.4)."""
        async with open_world() as world:
            await world.admit(0, timers=Timers(connect_retry=1, hold=90, keepalive=30))
            talk = await world.establish(0, world.opening(0, hold_time=3))
            await talk.until(lambda: len(talk.times(Keepalive)) >= 5, "fifth KEEPALIVE")
            times = talk.times(Keepalive)
            # The shortest of several, for a busy machine delays some; 30 s and 3 s are too long anyway.
            assert min(after - before for before, after in pairwise(times[1:])) < 1.5

    @pytest.mark.asyncio
    async def test_a_silent_peer_is_dropped_when_its_hold_time_is_over(self, open_world: OpenWorld) -> None:
        """NOTIFICATION 4/0, the session down, and the reason in words (RFC 4271 sections 6.5 and 8)."""
        async with open_world() as world:
            await world.admit(0)
            talk = await world.establish(0, world.opening(0, hold_time=3), keepalive=None)
            assert await _refused(talk) == (4, 0)
            last = talk.heard[-1].at - talk.times(Keepalive)[0]
            assert last > 2, f"dropped after {last:.1f} s"
            state = await world.until_state(0, lambda state: not state.established)
            assert "hold timer" in state.last_error.lower()

    @pytest.mark.asyncio
    async def test_updates_keep_a_session_alive(self, open_world: OpenWorld) -> None:
        """Each UPDATE restarts the hold timer, as a KEEPALIVE does (RFC 4271 section 8.2.2)."""
        async with open_world() as world:
            await world.admit(0, host(1))
            talk = await world.establish(0, world.opening(0, hold_time=3), keepalive=None)
            # The speaker's own KEEPALIVEs, one a second, are the clock: twice the hold time goes by.
            for number in range(6):
                await talk.expect(Keepalive)
                await world.announce(talk, 0, host(1), med=number)
            assert not talk.ended
            assert (await world.state(0)).established

    @pytest.mark.asyncio
    async def test_a_hold_time_of_zero_means_no_timers(self, open_world: OpenWorld) -> None:
        """The OPEN is confirmed all the same, and routes flow (RFC 4271 section 4.2)."""
        async with open_world() as world:
            await world.advertise(host(9))
            await world.admit(0, host(1))
            talk = await world.establish(0, world.opening(0, hold_time=0), keepalive=None)
            await talk.until(lambda: host(9) in talk.routes, "own route")
            await world.announce(talk, 0, host(1))
            await world.until_routes(lambda routes: routes.routes)

    @pytest.mark.asyncio
    async def test_a_second_connection_is_refused_and_the_first_one_lives(
        self, open_world: OpenWorld
    ) -> None:
        """Cease 6/7 for the newcomer of a neighbour whose session is up (RFC 4271 section 6.8)."""
        async with open_world() as world:
            talk = await world.client(0, host(1), host(2))
            await world.announce(talk, 0, host(1))
            before = await world.until_state(0, lambda state: state.accepted == 1)
            second = await world.dial(0)
            await second.send(world.opening(0))
            assert await _refused(second) == COLLISION
            await world.announce(talk, 0, host(2))
            after = await world.until_state(0, lambda state: state.accepted == 2)
            assert not talk.ended
            assert after.since == before.since
            assert learned_from(await world.routes(), world.place.peers[0]) == {host(1), host(2)}

    @pytest.mark.asyncio
    async def test_of_two_connections_at_once_exactly_one_is_left(self, open_world: OpenWorld) -> None:
        """Two that exchange OPENs together: one is confirmed, the other gets 6/7 (RFC 4271 section 6.8)."""
        async with open_world() as world:
            await world.admit(0)
            talks = [await world.dial(0), await world.dial(0)]
            for talk in talks:
                await talk.send(world.opening(0))
            ended = [asyncio.create_task(talk.until_ended()) for talk in talks]
            (done, rest) = await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED, timeout=20)
            assert len(done) == 1, "both connections live, or none"
            said = done.pop().result()
            assert said is not None
            assert said.error == COLLISION
            (left,) = [talk for talk in talks if not talk.ended]
            await left.send(Keepalive())
            await world.until_state(0, lambda state: state.established)
            for task in rest:
                task.cancel()

    @pytest.mark.asyncio
    async def test_a_deleted_session_says_goodbye_and_its_routes_go(self, open_world: OpenWorld) -> None:
        """A Cease, and a withdrawal for all others (RFC 4271 section 6.7, RFC 4486)."""
        async with open_world() as world:
            leaving, watching = await world.client(0, host(1)), await world.client(1)
            await world.announce(leaving, 0, host(1))
            await watching.until(lambda: host(1) in watching.routes, "reflected route")
            began = time.monotonic()
            await world.dismiss(0)
            assert await _refused(leaving) in CEASES
            await watching.until(lambda: host(1) not in watching.routes, "withdrawal")
            assert time.monotonic() - began < SOON
            await world.until_routes(lambda routes: not learned_from(routes, world.place.peers[0]))
            assert not watching.ended

    @pytest.mark.asyncio
    async def test_a_notification_is_told_in_words_and_takes_the_routes(self, open_world: OpenWorld) -> None:
        """What the peer said last is the session's last error (RFC 4271 section 6, RFC 4486)."""
        async with open_world() as world:
            leaving, watching = await world.client(0, host(1)), await world.client(1)
            await world.announce(leaving, 0, host(1))
            await watching.until(lambda: host(1) in watching.routes, "reflected route")
            await leaving.send(Notification(6, 2))
            state = await world.until_state(0, lambda state: not state.established)
            assert "administrative shutdown" in state.last_error.lower()
            await watching.until(lambda: host(1) not in watching.routes, "withdrawal")
            assert not learned_from(await world.routes(), world.place.peers[0])

    @pytest.mark.asyncio
    async def test_a_change_of_one_session_touches_no_other(self, open_world: OpenWorld) -> None:
        """The other peers see no NOTIFICATION, no end, and nothing announced again."""
        async with open_world() as world:
            await world.advertise(host(9))
            changed, other = await world.client(0, host(1)), await world.client(1, host(2))
            await world.announce(other, 1, host(2))
            await changed.until(lambda: host(2) in changed.routes, "reflected route")
            await other.until(lambda: host(9) in other.routes, "own route")
            before = await world.state(1)
            await world.admit(0, host(1), timers=attrs.evolve(FAST, hold=30))
            await changed.until_ended()
            again = await world.establish(0)
            await again.until(lambda: {host(2), host(9)} <= set(again.routes), "all routes")
            await world.announce(again, 0, host(1))
            await other.until(lambda: host(1) in other.routes, "the changed session's route")
            assert not other.ended
            assert (await world.state(1)).since == before.since
            assert other.mentions(host(9)) == 1, "announced again to a session that nobody touched"

    @pytest.mark.asyncio
    async def test_only_the_right_password_gets_a_session(self, open_world: OpenWorld) -> None:
        """TCP MD5 (RFC 2385): a wrong password, or none, is not even answered."""
        async with open_world() as world:
            if not world.place.passwords:
                pytest.skip("this kernel has no TCP MD5 signatures (CONFIG_TCP_MD5SIG)")
            await world.admit(0, password="right")  # noqa: S106 - of this test
            for wrong in (None, "wrong"):
                with pytest.raises(TimeoutError):
                    await world.dial(0, password=wrong, deadline=2)
            talk = await world.dial(0, password="right")  # noqa: S106 - as above
            await talk.open(world.opening(0))
            await world.until_state(0, lambda state: state.established)

    @pytest.mark.asyncio
    async def test_a_dialing_speaker_and_its_peer_end_with_one_session(self, open_world: OpenWorld) -> None:
        """Both sides dial at once; one connection is left, and routes flow on it (RFC 4271 section 6.8)."""
        async with open_world() as world, world.listen(0) as dialed:
            await world.admit(0, host(1), passive=False)
            ours = await world.dial(0)
            theirs = await dialed()
            for talk in (ours, theirs):
                await talk.send(world.opening(0))
            await asyncio.gather(*(_confirm(talk) for talk in (ours, theirs)))
            await world.until_state(0, lambda state: state.established)
            lives = [talk for talk in (ours, theirs) if not talk.ended]
            assert len(lives) == 1, f"{len(lives)} connections live"
            await _flows(world, lives[0])

    @pytest.mark.asyncio
    async def test_a_dialing_speaker_dials_again(self, open_world: OpenWorld) -> None:
        """After a session is lost, and from the address that the session names (RFC 4271 section 8.2.2)."""
        async with open_world() as world, world.listen(0) as dialed:
            await world.admit(0, host(1), passive=False, source=world.address)
            for _ in range(2):
                talk = await dialed()
                assert talk.remote == world.address
                await talk.open(world.opening(0))
                await world.until_state(0, lambda state: state.established)
                await _flows(world, talk)
                await talk.aclose()
                await world.until_state(0, lambda state: not state.established)


async def _confirm(talk: Conversation) -> None:
    """Confirm the OPEN of a connection that lives; wait for the end of one that does not."""
    await talk.until(lambda: talk.all(Keepalive) or talk.all(Notification), "KEEPALIVE or NOTIFICATION")
    await talk.send(Keepalive())
    if talk.all(Notification):
        await talk.until_ended()


async def _flows(world: World, talk: Conversation) -> None:
    peer: IPv4Address = world.place.peers[0]
    await talk.send(Update(attributes=path_attributes(peer), reach=(host(1),)))
    await world.until_routes(lambda routes: learned_from(routes, peer) == {host(1)})
