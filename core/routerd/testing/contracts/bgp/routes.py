"""What a BGP speaker must do with routes: admission, withdrawal, loss, refresh, next hops, communities."""

from __future__ import annotations

import time
from functools import partial
from ipaddress import IPv4Address, IPv4Network

import attrs
import pytest

from routerd.model.session import ImportPolicy
from routerd.testing.bgp import (
    Attribute,
    Flag,
    Notification,
    RouteRefresh,
    Update,
    path_attributes,
)
from routerd.testing.contracts.bgp.world import POOL, BgpWorldContract, OpenWorld, host, learned_from

NO_EXPORT, NO_ADVERTISE = "65535:65281", "65535:65282"
"""Well-known communities (RFC 1997)."""

UNKNOWN = 99
"""An attribute code that nobody has."""

SOON = 5.0
"""Seconds in which others must have lost a route; a busy machine needs some of them."""

REFUSED = (
    IPv4Network("0.0.0.0/0"),
    POOL,
    IPv4Network("10.88.1.0/24"),
    host(7),
    IPv4Network("192.0.2.1/32"),
)
"""What a neighbour may not announce that owns `host(1)`: the default route, aggregates, another's host."""


class BgpRouteRules(BgpWorldContract):
    """Rules of routes. Part of `BgpContract`."""

    # --- admission -------------------------------------------------------------------------------

    @pytest.mark.asyncio
    async def test_what_is_refused_is_counted_and_never_reflected(self, open_world: OpenWorld) -> None:
        """The policy is asked before a path enters; each refusal has a reason code."""
        async with open_world() as world:
            source, watcher = await world.client(0, host(1)), await world.client(1)
            await world.announce(source, 0, *REFUSED)
            await world.announce(source, 0, host(1))
            await watcher.until(lambda: host(1) in watcher.routes, "admitted path")
            assert [prefix for prefix in REFUSED if watcher.mentions(prefix)] == []
            state = await world.until_state(0, lambda state: state.received == len(REFUSED) + 1)
            assert state.accepted == 1
            assert sum(count for _, count in state.rejected) == len(REFUSED)
            assert all(reason and reason == reason.lower() for reason, _ in state.rejected)
            learned = await world.routes()
            assert {each.prefix for each in learned.rejected} == set(REFUSED)
            assert learned_from(learned, world.place.peers[0]) == {host(1)}

    @pytest.mark.asyncio
    async def test_forbidden_prefixes_win_over_what_is_admitted(self, open_world: OpenWorld) -> None:
        """What overlaps a forbidden prefix never enters, whatever else the policy says."""
        async with open_world() as world:
            policy = ImportPolicy(hosts=frozenset({host(1), host(2)}), forbidden=frozenset({host(1)}))
            source, watcher = await world.client(0, policy=policy), await world.client(1)
            await world.announce(source, 0, host(1), host(2))
            await watcher.until(lambda: host(2) in watcher.routes, "admitted path")
            assert not watcher.mentions(host(1))

    @pytest.mark.asyncio
    async def test_a_new_policy_judges_what_was_sent_without_a_reset(self, open_world: OpenWorld) -> None:
        """What is admitted now enters, what is not any more goes; the session does not notice."""
        async with open_world() as world:
            source, watcher = await world.client(0, host(1)), await world.client(1)
            await world.announce(source, 0, host(1), host(2))
            await watcher.until(lambda: host(1) in watcher.routes, "admitted path")
            before = await world.state(0)
            await world.admit(0, host(1), host(2))
            await watcher.until(lambda: host(2) in watcher.routes, "path that is admitted now")
            await world.admit(0, host(2))
            await watcher.until(lambda: host(1) not in watcher.routes, "withdrawal")
            await world.until_routes(lambda routes: learned_from(routes, world.place.peers[0]) == {host(2)})
            assert not source.ended
            assert not source.all(Notification)
            assert (await world.state(0)).since == before.since
            assert watcher.mentions(host(2)) == 1, "what was admitted before and after was sent again"

    @pytest.mark.asyncio
    async def test_what_exceeds_the_maximum_is_rejected(self, open_world: OpenWorld) -> None:
        """The rest has a reason code, is not used and not reflected; the session stays."""
        async with open_world() as world:
            policy = ImportPolicy(within=frozenset({POOL}), max_prefixes=2)
            source, watcher = await world.client(0, policy=policy), await world.client(1, host(9))
            # Not in the order of addresses: who came first stays.
            await world.announce(source, 0, host(4), host(3))
            await world.announce(source, 0, host(2), host(1))
            state = await world.until_state(0, lambda state: state.received == 4)
            assert state.accepted == 2
            assert [count for _, count in state.rejected] == [2]
            await watcher.until(lambda: {host(3), host(4)} <= set(watcher.routes), "admitted paths")
            assert learned_from(await world.routes(), world.place.peers[0]) == {host(3), host(4)}
            await world.announce(watcher, 1, host(9))
            await source.until(lambda: host(9) in source.routes, "path of another peer")
            assert not watcher.mentions(host(1))
            assert not watcher.mentions(host(2))
            assert not source.ended

    # --- withdrawal and loss ---------------------------------------------------------------------

    @pytest.mark.asyncio
    async def test_a_withdrawal_reaches_everybody(self, open_world: OpenWorld) -> None:
        """That of a prefix which was never announced is harmless (RFC 4271 section 3.1)."""
        async with open_world() as world:
            source, watcher = await world.client(0, host(1), host(2)), await world.client(1)
            await source.send(Update(withdrawn=(host(1), host(7))))
            await world.announce(source, 0, host(1), host(2))
            await watcher.until(lambda: {host(1), host(2)} <= set(watcher.routes), "reflected paths")
            await source.send(Update(withdrawn=(host(1), host(7))))
            await watcher.until(lambda: host(1) not in watcher.routes, "withdrawal")
            await world.until_routes(lambda routes: learned_from(routes, world.place.peers[0]) == {host(2)})
            assert host(2) in watcher.routes
            assert not source.ended

    @pytest.mark.asyncio
    async def test_a_new_announcement_replaces_the_old_one(self, open_world: OpenWorld) -> None:
        """With its new attributes, and without a withdrawal in between (RFC 4271 section 3.1)."""
        async with open_world() as world:
            source, watcher = await world.client(0, host(1)), await world.client(1)
            await world.announce(source, 0, host(1), med=1)
            await watcher.until(lambda: host(1) in watcher.routes, "reflected path")
            await world.announce(source, 0, host(1), med=2, communities=["64512:7"])
            await watcher.until(lambda: watcher.routes[host(1)].med == 2, "new attributes")
            assert watcher.routes[host(1)].communities == {"64512:7"}
            assert not any(host(1) in each.withdrawn for each in watcher.all(Update))
            learned = await world.until_routes(lambda routes: routes.routes[0].communities)
            assert [route.prefix for route in learned.routes] == [host(1)]

    @pytest.mark.asyncio
    async def test_the_last_word_of_a_burst_counts(self, open_world: OpenWorld) -> None:
        """Announced and withdrawn is gone, withdrawn and announced is there, however fast they follow."""
        async with open_world() as world:
            gone = tuple(host(number) for number in range(10, 410))
            there = tuple(host(number) for number in range(410, 810))
            source, watcher = await world.client(0, *gone, *there, host(1)), await world.client(1)
            announced = Update(attributes=path_attributes(world.place.peers[0]), reach=(*gone, *there))
            withdrawn = Update(withdrawn=(*gone, *there))
            await source.send(announced, withdrawn, announced, Update(withdrawn=gone))
            await world.announce(source, 0, host(1))
            expected = {*there, host(1)}
            await watcher.until(lambda: set(watcher.routes) == expected, "what was said last")
            await world.until_routes(lambda routes: learned_from(routes, world.place.peers[0]) == expected)

    @pytest.mark.asyncio
    async def test_what_is_announced_and_withdrawn_in_one_message_is_announced(
        self, open_world: OpenWorld
    ) -> None:
        """Such a message counts as if the prefix were not among the withdrawn (RFC 4271 section 4.3)."""
        async with open_world() as world:
            source, watcher = await world.client(0, host(1), host(2)), await world.client(1)
            made = path_attributes(world.place.peers[0])
            await world.announce(source, 0, host(1))
            await watcher.until(lambda: host(1) in watcher.routes, "reflected path")
            await source.send(Update(attributes=made, reach=(host(1),), withdrawn=(host(1),)))
            await world.announce(source, 0, host(2))
            await watcher.until(lambda: host(2) in watcher.routes, "path that was sent last")
            assert host(1) in watcher.routes
            learned = learned_from(await world.routes(), world.place.peers[0])
            assert learned == {host(1), host(2)}

    @pytest.mark.asyncio
    async def test_a_lost_session_takes_its_routes_from_others_at_once(self, open_world: OpenWorld) -> None:
        """We ourselves may keep them, marked stale, until they come again (RFC 4724/4.2)."""
        async with open_world() as world:
            source, watcher = await world.client(0, host(1)), await world.client(1)
            await world.announce(source, 0, host(1))
            await watcher.until(lambda: host(1) in watcher.routes, "reflected path")
            began = time.monotonic()
            await source.aclose()
            await watcher.until(lambda: host(1) not in watcher.routes, "withdrawal")
            assert time.monotonic() - began < SOON
            await world.until_routes(lambda routes: not learned_from(routes, world.place.peers[0]))
            again = await world.establish(0)
            await world.announce(again, 0, host(1))
            await watcher.until(lambda: host(1) in watcher.routes, "path of the peer that is back")
            await world.until_routes(lambda routes: learned_from(routes, world.place.peers[0]) == {host(1)})

    @pytest.mark.asyncio
    async def test_rivals_that_come_and_go_leave_the_right_end(self, open_world: OpenWorld) -> None:
        """Two with equal paths for the same prefixes, one of which dies again and again."""
        async with open_world() as world:
            hosts = tuple(host(number) for number in range(10, 310))
            stays, dies = await world.client(0, *hosts), await world.client(1, *hosts)
            watcher = await world.client(2)
            await world.announce(stays, 0, *hosts)
            for number in range(4):
                await world.announce(dies, 1, *hosts, local_preference=100 + 50 * (number % 2))
                await world.announce(stays, 0, *hosts, med=number)
                await dies.aclose()
                await world.until_state(1, lambda state: not state.established)
                dies = await world.establish(1)
            await world.announce(dies, 1, *hosts, local_preference=200)
            best = world.place.peers[1]
            await watcher.until(
                lambda: (
                    [watcher.routes[each].next_hop for each in hosts if each in watcher.routes]
                    == [best] * len(hosts)
                ),
                "best paths",
            )
            await dies.send(Update(withdrawn=hosts))
            other = world.place.peers[0]
            await watcher.until(
                lambda: (
                    [watcher.routes[each].next_hop for each in hosts if each in watcher.routes]
                    == [other] * len(hosts)
                ),
                "the other's paths",
            )
            await stays.send(Update(withdrawn=hosts))
            await watcher.until(lambda: not watcher.routes, "withdrawal")
            await world.until_routes(lambda routes: not routes.routes)

    @pytest.mark.asyncio
    async def test_a_peer_that_does_not_read_holds_up_nobody(self, open_world: OpenWorld) -> None:
        """However much waits for it, others are told what is new, and the speaker answers."""
        async with open_world() as world:
            hosts = tuple(host(number) for number in range(10, 810))
            source, watcher = await world.client(0, *hosts), await world.client(1)
            hangs = await world.client(2)
            await hangs.stop_reading()

            def whole(number: int) -> bool:
                paths = watcher.routes.values()
                return len(paths) == len(hosts) and all(path.med == number for path in paths)

            # Some 3 MB in each round, with a message for each path, so that no buffer takes it all.
            for number in range(4):
                long = Attribute(Flag.OPTIONAL | Flag.TRANSITIVE, UNKNOWN, bytes([number]) * 3800)
                for each in hosts:
                    await world.announce(source, 0, each, med=number, more=[long])
                await watcher.until(partial(whole, number), "all paths of a round")
            assert (await world.state(0)).established
            assert not watcher.ended

    # --- refresh ---------------------------------------------------------------------------------

    @pytest.mark.asyncio
    async def test_a_refresh_brings_everything_again(self, open_world: OpenWorld) -> None:
        """The neighbour that asks gets what is valid now; other families are ignored (RFC 2918)."""
        async with open_world() as world:
            await world.advertise(host(9), communities=frozenset({"64512:100"}))
            source, asker = await world.client(0, host(1), host(2), host(3)), await world.client(1, host(4))
            await world.announce(source, 0, host(1), host(2), med=5)
            await asker.until(lambda: {host(1), host(2), host(9)} <= set(asker.routes), "all routes")
            await source.send(Update(withdrawn=(host(2),)))
            await asker.until(lambda: host(2) not in asker.routes, "withdrawal")
            before, told = dict(asker.routes), len(source.all(Update))
            asker.routes.clear()
            await asker.send(RouteRefresh(2, 1), RouteRefresh())
            await asker.until(lambda: asker.routes == before, "all routes again")
            await world.announce(source, 0, host(3))
            await asker.until(lambda: host(3) in asker.routes, "new path")
            assert host(2) not in asker.routes
            await world.announce(asker, 1, host(4))
            await source.until(lambda: host(4) in source.routes, "path of the neighbour that has asked")
            assert len(source.all(Update)) == told + 1, "somebody who did not ask was told again"
            assert not asker.ended

    # --- communities and next hops ---------------------------------------------------------------

    @pytest.mark.asyncio
    async def test_own_routes_carry_what_was_asked_for(self, open_world: OpenWorld) -> None:
        """Communities, LOCAL_PREF, and the next hop: the named one, or our address of the session."""
        async with open_world() as world:
            elsewhere = IPv4Address("192.0.2.77")
            await world.advertise(host(8), next_hop=elsewhere, communities=frozenset({"64512:1", "64512:2"}))
            await world.advertise(host(9), local_preference=300)
            talk = await world.client(0)
            await talk.until(lambda: {host(8), host(9)} <= set(talk.routes), "own routes")
            assert talk.routes[host(8)].next_hop == elsewhere
            assert talk.routes[host(8)].communities == {"64512:1", "64512:2"}
            assert talk.routes[host(9)].next_hop == world.address
            assert talk.routes[host(9)].local_preference == 300
            assert (await world.until_state(0, lambda state: state.advertised == 2)).established

    @pytest.mark.asyncio
    async def test_own_routes_win_change_and_go(self, open_world: OpenWorld) -> None:
        """What is originated is best for others too; without it, another is (RFC 4271 section 9.1)."""
        async with open_world() as world:
            source, watcher = await world.client(0, host(1)), await world.client(1)
            await world.announce(source, 0, host(1), local_preference=50)
            await watcher.until(lambda: host(1) in watcher.routes, "reflected path")
            await world.advertise(host(1))
            await watcher.until(lambda: watcher.routes[host(1)].next_hop == world.address, "own route")
            await source.until(lambda: host(1) in source.routes, "own route, to its rival too")
            learned = await world.routes()
            assert not any(route.best for route in learned.routes), "best through somebody else"
            await world.advertise(host(1), communities=frozenset({"64512:3"}))
            await watcher.until(lambda: watcher.routes[host(1)].communities == {"64512:3"}, "new community")
            await world.retract(host(1))
            rival = world.place.peers[0]
            await watcher.until(lambda: watcher.routes[host(1)].next_hop == rival, "the rival's path")
            await source.until(lambda: host(1) not in source.routes, "withdrawal")
            await world.until_routes(lambda routes: [route.best for route in routes.routes] == [True])

    @pytest.mark.asyncio
    async def test_no_advertise_stays_here(self, open_world: OpenWorld) -> None:
        """It is used and goes to nobody, also when it replaces a path that went out (RFC 1997)."""
        async with open_world() as world:
            source, watcher = await world.client(0, host(1), host(2)), await world.client(1)
            await world.announce(source, 0, host(1), communities=[NO_ADVERTISE])
            await world.announce(source, 0, host(2))
            await watcher.until(lambda: host(2) in watcher.routes, "path for everybody")
            assert not watcher.mentions(host(1))
            await world.until_routes(
                lambda routes: learned_from(routes, world.place.peers[0]) == {host(1), host(2)}
            )
            await world.announce(source, 0, host(2), communities=[NO_ADVERTISE])
            await watcher.until(lambda: host(2) not in watcher.routes, "withdrawal")
            late = await world.client(2)
            await world.advertise(host(9))
            await late.until(lambda: host(9) in late.routes, "own route")
            assert set(late.routes) == {host(9)}

    @pytest.mark.asyncio
    async def test_no_export_stays_in_the_as(self, open_world: OpenWorld) -> None:
        """It goes to internal peers, with the community, and to no external one (RFC 1997)."""
        async with open_world() as world:
            source, internal = await world.client(0, host(1), host(2)), await world.client(1)
            asn = 65010
            await world.admit(2, peer_asn=asn, route_reflector_client=False)
            external = await world.establish(2, world.opening(2, asn=asn))
            await world.announce(source, 0, host(1), communities=[NO_EXPORT])
            await world.announce(source, 0, host(2), local_preference=200, med=7)
            await external.until(lambda: host(2) in external.routes, "path for everybody")
            assert not external.mentions(host(1))
            path = external.routes[host(2)]
            assert path.as_path == (world.speaker.asn,)
            assert path.local_preference is None, "LOCAL_PREF left the AS (RFC 4271 section 5.1.5)"
            assert path.originator is None, "ORIGINATOR_ID left the AS (RFC 4456 section 8)"
            assert path.clusters == ()
            await internal.until(lambda: host(1) in internal.routes, "path for internal peers")
            assert internal.routes[host(1)].communities == {NO_EXPORT}

    @pytest.mark.asyncio
    async def test_the_next_hop_is_ours_only_where_that_is_asked_for(self, open_world: OpenWorld) -> None:
        """A reflector leaves it alone, `next_hop_self` replaces it (RFC 4456 section 10, RFC 4271 5.1.3)."""
        async with open_world() as world:
            source, plain = await world.client(0, host(1)), await world.client(1)
            replaced = await world.client(2, next_hop_self=True)
            await world.announce(source, 0, host(1))
            await plain.until(lambda: host(1) in plain.routes, "reflected path")
            assert plain.routes[host(1)].next_hop == world.place.peers[0]
            await replaced.until(lambda: host(1) in replaced.routes, "reflected path")
            assert replaced.routes[host(1)].next_hop == world.address

    @pytest.mark.asyncio
    async def test_a_path_through_ourselves_is_not_used(self, open_world: OpenWorld) -> None:
        """Nor reflected, and it replaces what came before; no reset (RFC 4271 sections 5.1.3 and 6.3)."""
        async with open_world() as world:
            source, watcher = await world.client(0, host(1), host(2)), await world.client(1)
            ours = Update(attributes=path_attributes(world.address), reach=(host(1),))
            await source.send(ours)
            await world.announce(source, 0, host(2))
            await watcher.until(lambda: host(2) in watcher.routes, "path with another next hop")
            assert not watcher.mentions(host(1))
            await world.announce(source, 0, host(1))
            await watcher.until(lambda: host(1) in watcher.routes, "path with another next hop")
            await source.send(ours)
            await watcher.until(lambda: host(1) not in watcher.routes, "withdrawal")
            await world.until_routes(lambda routes: learned_from(routes, world.place.peers[0]) == {host(2)})
            assert not source.ended

    @pytest.mark.asyncio
    async def test_the_policy_may_replace_next_hop_and_preference(self, open_world: OpenWorld) -> None:
        """What is learned goes to the neighbour's address, with the preference that the policy names."""
        async with open_world() as world:
            policy = ImportPolicy(hosts=frozenset({host(1)}), next_hop="peer-address", local_preference=150)
            source = await world.client(0, policy=policy)
            elsewhere = IPv4Address("192.0.2.77")
            await source.send(Update(attributes=path_attributes(elsewhere), reach=(host(1),)))
            learned = await world.until_routes(lambda routes: routes.routes)
            (route,) = learned.routes
            assert (route.next_hop, route.local_preference) == (world.place.peers[0], 150)
            changed = attrs.evolve(policy, next_hop="unchanged", local_preference=None)
            await world.admit(0, policy=changed)
            learned = await world.until_routes(lambda routes: routes.routes[0].next_hop == elsewhere)
            assert learned.routes[0].local_preference == 100
            assert not source.ended
