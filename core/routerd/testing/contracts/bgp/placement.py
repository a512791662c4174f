"""What several who announce one prefix rely on: the lowest MED decides, and it is known who was heard."""

from __future__ import annotations

import attrs
import pytest

from routerd.model.session import ImportPolicy
from routerd.testing.bgp import Capability, Update
from routerd.testing.contracts.bgp.world import BgpWorldContract, OpenWorld, host

GRACEFUL = Capability(64, bytes([0, 120, 0, 1, 1, 0x80]))
"""Graceful restart for IPv4 unicast (RFC 4724 section 3): its sender will say End-of-RIB."""

END_OF_RIB = Update()


class BgpPlacementRules(BgpWorldContract):
    """Rules of prefixes that several neighbours announce. Part of `BgpContract`."""

    @pytest.mark.parametrize("first", [0, 1])
    @pytest.mark.asyncio
    async def test_of_two_the_lower_med_is_best_and_the_other_steps_in(
        self, open_world: OpenWorld, first: int
    ) -> None:
        """For everybody but its source, in any order of arrival; the worse one hears who is better."""
        async with open_world() as world:
            peers = [await world.client(0, host(1)), await world.client(1, host(1))]
            watcher = await world.client(2)
            meds, rivals = (10, 20), world.place.peers
            for peer in (first, 1 - first):
                await world.announce(peers[peer], peer, host(1), med=meds[peer])
            await watcher.until_route(host(1), "path of the lower MED", next_hop=rivals[0])
            await peers[1].until_route(host(1), "path of the lower MED", next_hop=rivals[0])
            await peers[0].until(lambda: host(1) not in peers[0].routes, "silence of the higher MED")
            assert watcher.routes[host(1)].med == 10
            learned = await world.until_routes(lambda routes: len(routes.routes) == 2)
            assert {(route.neighbour, route.med, route.best) for route in learned.routes} == {
                (rivals[0], 10, True),
                (rivals[1], 20, False),
            }
            await peers[0].aclose()
            await watcher.until_route(host(1), "path of the one that is left", next_hop=rivals[1])
            await peers[1].until(lambda: host(1) not in peers[1].routes, "withdrawal of the one that is gone")
            assert not any(host(1) in each.withdrawn for each in watcher.all(Update)), "a gap in between"
            back = await world.establish(0)
            await back.until_route(host(1), "path of the one that stepped in", next_hop=rivals[1])
            await world.announce(back, 0, host(1), med=10)
            await watcher.until_route(host(1), "path of the lower MED again", next_hop=rivals[0])
            await back.until(lambda: host(1) not in back.routes, "withdrawal of the higher MED")

    @pytest.mark.asyncio
    async def test_an_own_route_carries_its_med_and_stays_announced(self, open_world: OpenWorld) -> None:
        """A speaker that hears a better route goes on announcing its own, for when the other one goes."""
        async with open_world() as world:
            await world.advertise(host(1), med=20)
            reflector = await world.client(0, host(1), host(2), route_reflector_client=False)
            await reflector.until_route(host(1), "own route")
            assert reflector.routes[host(1)].med == 20
            await world.announce(reflector, 0, host(1), med=10, originator=world.router_id(1))
            learned = await world.until_routes(lambda routes: routes.routes)
            (rival,) = learned.routes
            assert (rival.prefix, rival.med, rival.originator) == (host(1), 10, world.router_id(1))
            assert not rival.best
            # What is sent in order says that nothing came before it.
            await world.advertise(host(3), med=0)
            await reflector.until_route(host(3), "later own route")
            assert reflector.routes[host(3)].med == 0
            assert reflector.mentions(host(1)) == 1
            await world.advertise(host(1), med=5)
            await reflector.until(lambda: reflector.routes[host(1)].med == 5, "new MED")

    @pytest.mark.asyncio
    async def test_who_says_end_of_rib_is_heard_when_it_has(self, open_world: OpenWorld) -> None:
        """A neighbour that can say End-of-RIB counts as heard only then, also after a loss (RFC 4724)."""
        async with open_world() as world:
            who = world.place.peers[0]
            plain = world.opening(0)
            able = attrs.evolve(plain, capabilities=(*plain.capabilities, GRACEFUL))
            await world.admit(0, policy=ImportPolicy(hosts=frozenset({host(1)})))
            talk = await world.establish(0, able)
            await world.announce(talk, 0, host(1))
            learned = await world.until_routes(lambda routes: routes.routes)
            assert learned.heard == frozenset()
            await talk.send(END_OF_RIB)
            await world.until_routes(lambda routes: routes.heard == {who})
            await talk.aclose()
            await world.until_routes(lambda routes: not routes.heard)
            again = await world.establish(0, able)
            await world.announce(again, 0, host(1), med=7)
            learned = await world.until_routes(lambda routes: any(each.med == 7 for each in routes.routes))
            assert learned.heard == frozenset()

    @pytest.mark.asyncio
    async def test_who_cannot_say_end_of_rib_is_heard_at_once(self, open_world: OpenWorld) -> None:
        """It would be waited for in vain."""
        async with open_world() as world:
            talk = await world.client(0, host(1))
            await world.until_routes(lambda routes: routes.heard == {world.place.peers[0]})
            await talk.aclose()
            await world.until_routes(lambda routes: not routes.heard)
