"""The contract of BGP speakers, against the real one."""

from __future__ import annotations

import secrets
from ipaddress import IPv4Address

import attrs
import pytest

from routerd.model.session import ImportPolicy, Speaker
from routerd.testing.bgp import Update, md5_available
from routerd.testing.contracts import BgpContract, BgpPlace
from routerd.testing.contracts.bgp.world import POOL, OpenWorld, host
from routerd_bgp_ryu.testing.real import RealSpeaker

WIDE_ASN = 4_200_000_000

BLOCK = IPv4Address(f"127.{1 + secrets.randbelow(250)}.{1 + secrets.randbelow(200)}.0")
"""A block of addresses of this process alone, so that runs at the same time do not meet."""

PLACE = BgpPlace(
    speaker=Speaker(asn=64577, router_id=BLOCK + 1, owner="BGPRouter/a", port=17902, listen=BLOCK + 1),
    peers=tuple(BLOCK + number for number in range(11, 15)),
    passwords=md5_available(),
)


@pytest.mark.live
class TestBgpOnTheWire(RealSpeaker, BgpContract):
    @pytest.fixture
    def place(self) -> BgpPlace:
        return PLACE

    async def test_room_below_the_maximum_is_used(self, open_world: OpenWorld) -> None:
        async with open_world() as world:
            policy = ImportPolicy(within=frozenset({POOL}), max_prefixes=2)
            source, watcher = await world.client(0, policy=policy), await world.client(1)
            await world.announce(source, 0, host(3), host(2), host(1))
            await watcher.until(lambda: set(watcher.routes) == {host(3), host(2)}, "admitted paths")
            await source.send(Update(withdrawn=(host(2),)))
            await watcher.until(lambda: set(watcher.routes) == {host(3), host(1)}, "path that has room now")
            state = await world.until_state(0, lambda state: state.received == 2)
            assert (state.accepted, state.rejected) == (2, ())

    async def test_a_flood_ends_the_session(self, open_world: OpenWorld) -> None:
        """Cease 6/1 (RFC 4486) at 1,000 prefixes above the maximum, and the other session lives."""
        async with open_world() as world:
            source, watcher = (
                await world.client(0, policy=ImportPolicy(max_prefixes=1)),
                await world.client(1),
            )
            for start in range(1000, 2200, 300):
                await world.announce(source, 0, *(host(number) for number in range(start, start + 300)))
            said = await source.until_ended()
            assert said is not None
            assert said.error == (6, 1)
            await world.until_state(0, lambda state: "maximum number of prefixes" in state.last_error)
            assert not watcher.routes
            assert (await world.state(1)).established

    async def test_what_does_not_fit_into_a_message_is_withdrawn_from_whom_it_does_not_fit(
        self, open_world: OpenWorld
    ) -> None:
        """With AS4_PATH, for narrow AS numbers, a path takes over 4,096 bytes (RFC 4271 section 9.2)."""
        async with open_world() as world:
            source, wide = await world.client(0, host(1), host(2)), await world.client(1)
            await world.admit(2)
            narrow = await world.establish(2, attrs.evolve(world.opening(2), capabilities=()))
            await world.announce(source, 0, host(1), host(2))
            for talk in (wide, narrow):
                await talk.until_prefixes({host(1), host(2)}, "both")
            path = [WIDE_ASN + number for number in range(250)]
            many = [f"64512:{number}" for number in range(700)]
            await world.announce(source, 0, host(1), as_path=path, communities=many)
            await narrow.until_prefixes({host(2)}, "withdrawal of what does not fit")
            await wide.until(lambda: wide.routes[host(1)].as_path == tuple(path), "whole path")
            assert {host(1), host(2)} == set(wide.routes)
            # The session lives, and the prefix is announced again when it fits.
            await world.announce(source, 0, host(1))
            await narrow.until_prefixes({host(1), host(2)}, "both again")
            assert (await world.state(2)).advertised == 2
