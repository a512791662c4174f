"""What a route reflector must do: RFC 4456, and the attributes that RFC 4271 section 5 passes on."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Any

import attrs
import pytest

from routerd.testing.bgp import Attribute, Code, Flag, Keepalive, Update
from routerd.testing.contracts.bgp.world import BgpWorldContract, OpenWorld, World, host, learned_from

UNKNOWN, IGNORED = 99, 98
"""Attribute codes that nobody has."""

ELSEWHERE = IPv4Address("10.99.200.1")
OTHER_CLUSTER = IPv4Address("10.99.200.2")
OWN_CLUSTER = IPv4Address("10.99.200.3")


@attrs.frozen
class Loop:
    """What makes a path one that has been here before."""

    originator: bool = False
    cluster: bool = False
    asn: bool = False

    def attributes(self, world: World) -> dict[str, Any]:
        """Return the attributes, for `path_attributes`."""
        clusters: Sequence[IPv4Address] = [OTHER_CLUSTER, world.cluster_id] if self.cluster else []
        return {
            "originator": world.speaker.router_id if self.originator else None,
            "clusters": clusters,
            "as_path": [64999, world.speaker.asn] if self.asn else [],
        }


LOOPS = {
    "originator": Loop(originator=True),
    "cluster": Loop(cluster=True),
    "as path": Loop(asn=True),
}


class BgpReflectionRules(BgpWorldContract):
    """Rules of a route reflector. Part of `BgpContract`."""

    @pytest.mark.asyncio
    async def test_a_clients_path_is_reflected_to_all_others_as_it_came(self, open_world: OpenWorld) -> None:
        """To clients and non-clients, ORIGINATOR_ID and CLUSTER_LIST added, all else as it came (4456/8)."""
        async with open_world(cluster_id=OWN_CLUSTER) as world:
            source = await world.client(0, host(1))
            watchers = [await world.client(1), await world.client(2, route_reflector_client=False)]
            sent = await world.announce(
                source,
                0,
                host(1),
                as_path=[64999, 4_200_000_002],
                local_preference=250,
                med=50,
                communities=["64512:100", "64512:200"],
                more=[Attribute(Flag.TRANSITIVE, Code.ATOMIC_AGGREGATE, b"")],
            )
            for watcher in watchers:
                await watcher.until_route(host(1), "reflected path")
                path = watcher.routes[host(1)]
                assert path.originator == world.router_id(0)
                assert path.clusters == (OWN_CLUSTER,)
                for attribute in sent:
                    assert path.get(attribute.code) == attribute
                assert len(path.attributes) == len(sent) + 2

    @pytest.mark.asyncio
    async def test_unknown_attributes_are_passed_or_ignored_as_their_flags_say(
        self, open_world: OpenWorld
    ) -> None:
        """Optional transitive ones go on with the partial bit, others not (RFC 4271 section 5)."""
        async with open_world() as world:
            source, watcher = await world.client(0, host(1)), await world.client(1)
            long = bytes(range(256)) * 2
            passed = Attribute(Flag.OPTIONAL | Flag.TRANSITIVE | Flag.EXTENDED, UNKNOWN, long)
            ignored = Attribute(Flag.OPTIONAL, IGNORED, b"not yours")
            large = Attribute(Flag.OPTIONAL | Flag.TRANSITIVE, Code.LARGE_COMMUNITIES, bytes(range(12)))
            extended = Attribute(
                Flag.OPTIONAL | Flag.TRANSITIVE, Code.EXTENDED_COMMUNITIES, b"\0\2\0\1\0\0\0\2"
            )
            await world.announce(source, 0, host(1), more=[passed, ignored, large, extended])
            await watcher.until(lambda: host(1) in watcher.routes, "reflected path")
            path = watcher.routes[host(1)]
            came = path.get(UNKNOWN)
            assert came == attrs.evolve(passed, flags=passed.flags | Flag.PARTIAL)
            assert path.get(IGNORED) is None
            for known in (large, extended):
                found = path.get(known.code)
                assert found is not None
                assert found.value == known.value

    @pytest.mark.asyncio
    async def test_originator_id_is_kept_and_the_cluster_id_prepended(self, open_world: OpenWorld) -> None:
        """The reflector that came first has named the originator (RFC 4456 section 8)."""
        async with open_world(cluster_id=OWN_CLUSTER) as world:
            source, watcher = await world.client(0, host(1)), await world.client(1)
            await world.announce(
                source, 0, host(1), originator=ELSEWHERE, clusters=[OTHER_CLUSTER, ELSEWHERE]
            )
            await watcher.until(lambda: host(1) in watcher.routes, "reflected path")
            path = watcher.routes[host(1)]
            assert path.originator == ELSEWHERE
            assert path.clusters == (OWN_CLUSTER, OTHER_CLUSTER, ELSEWHERE)

    @pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS.keys())
    @pytest.mark.asyncio
    async def test_a_path_that_has_been_here_is_ignored(self, open_world: OpenWorld, loop: Loop) -> None:
        """Own router ID, cluster ID or AS number in it: not used, not reflected, no reset (4456/8)."""
        async with open_world(cluster_id=OWN_CLUSTER) as world:
            source, watcher = await world.client(0, host(1), host(2)), await world.client(1)
            await world.announce(source, 0, host(1), **loop.attributes(world))
            await world.announce(source, 0, host(2))
            await watcher.until(lambda: host(2) in watcher.routes, "path without a loop")
            assert not watcher.mentions(host(1))
            learned = await world.until_routes(lambda routes: learned_from(routes, world.place.peers[0]))
            assert learned_from(learned, world.place.peers[0]) == {host(2)}
            assert not source.ended

    @pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS.keys())
    @pytest.mark.asyncio
    async def test_a_path_that_becomes_a_loop_is_taken_back(self, open_world: OpenWorld, loop: Loop) -> None:
        """The new path replaces the old one even if it cannot be used itself (RFC 4271 section 9)."""
        async with open_world(cluster_id=OWN_CLUSTER) as world:
            source, watcher = await world.client(0, host(1)), await world.client(1)
            await world.announce(source, 0, host(1))
            await watcher.until(lambda: host(1) in watcher.routes, "path without a loop")
            await world.announce(source, 0, host(1), **loop.attributes(world))
            await watcher.until(lambda: host(1) not in watcher.routes, "withdrawal")
            await world.until_routes(lambda routes: not learned_from(routes, world.place.peers[0]))

    @pytest.mark.parametrize("reflected", [{"originator": ELSEWHERE}, {"clusters": [OTHER_CLUSTER]}])
    @pytest.mark.asyncio
    async def test_a_path_of_another_reflector_is_no_loop(
        self, open_world: OpenWorld, reflected: dict[str, Any]
    ) -> None:
        """Also when the reflector that sends it is its originator (RFC 4456 section 8)."""
        async with open_world() as world:
            source = await world.client(0, host(1), host(2))
            await world.announce(source, 0, host(1), **reflected)
            await world.announce(source, 0, host(2), originator=world.router_id(0))
            await world.until_state(0, lambda state: state.accepted == 2)

    @pytest.mark.asyncio
    async def test_who_is_no_client_is_reflected_to_clients_only(self, open_world: OpenWorld) -> None:
        """A path of a non-client goes to the clients and to no other non-client (RFC 4456 section 6)."""
        async with open_world() as world:
            source = await world.client(0, host(1), route_reflector_client=False)
            other = await world.client(1, route_reflector_client=False)
            client = await world.client(2, host(2))
            await world.announce(source, 0, host(1))
            await client.until(lambda: host(1) in client.routes, "reflected path")
            await world.announce(client, 2, host(2))
            await other.until(lambda: host(2) in other.routes, "the client's path")
            await source.until(lambda: host(2) in source.routes, "the client's path")
            assert not other.mentions(host(1))

    @pytest.mark.asyncio
    async def test_nothing_goes_back_to_who_sent_it(self, open_world: OpenWorld) -> None:
        """Neither when it comes nor when it goes (RFC 4456 section 6)."""
        async with open_world() as world:
            one, two = await world.client(0, host(1)), await world.client(1, host(2))
            await world.announce(one, 0, host(1))
            await two.until(lambda: host(1) in two.routes, "reflected path")
            await one.send(Update(withdrawn=(host(1),)))
            await two.until(lambda: host(1) not in two.routes, "withdrawal")
            await world.announce(two, 1, host(2))
            await one.until(lambda: host(2) in one.routes, "the other's path")
            assert not one.mentions(host(1))

    @pytest.mark.asyncio
    async def test_what_is_our_own_is_not_reflected(self, open_world: OpenWorld) -> None:
        """An own route has no ORIGINATOR_ID or CLUSTER_LIST, to clients neither (4456/8)."""
        async with open_world() as world:
            await world.advertise(host(9))
            for peer, client in ((0, True), (1, False)):
                talk = await world.client(peer, route_reflector_client=client)
                await talk.until_route(host(9), "own route")
                assert talk.routes[host(9)].codes == [1, 2, 3, 5]

    @pytest.mark.asyncio
    async def test_a_better_path_takes_over_and_stays(self, open_world: OpenWorld) -> None:
        """Everybody but its sender has the best path; its sender has none back (RFC 4271 section 9.1)."""
        async with open_world() as world:
            one, two, watcher = [await world.client(peer, host(1), host(2)) for peer in range(3)]
            await world.announce(two, 1, host(1))
            for talk in (one, watcher):
                await talk.until_route(host(1), "first path")
            await world.announce(one, 0, host(1), local_preference=200)
            better = world.place.peers[0]
            for talk in (two, watcher):
                await talk.until_route(host(1), "better path", next_hop=better)
            await one.until(lambda: host(1) not in one.routes, "withdrawal of the path that was worse")
            await world.announce(one, 0, host(2))
            await watcher.until(lambda: host(2) in watcher.routes, "path that was sent last")
            assert watcher.routes[host(1)].next_hop == better
            assert not any(host(1) in each.withdrawn for each in watcher.all(Update)), "not make before break"

    @pytest.mark.asyncio
    async def test_the_next_best_path_takes_over_when_the_best_goes(self, open_world: OpenWorld) -> None:
        """Nobody keeps the old path, its sender's rival neither (RFC 4271 section 9.1)."""
        async with open_world() as world:
            one, two, watcher = [await world.client(peer, host(1)) for peer in range(3)]
            await world.announce(one, 0, host(1), local_preference=200)
            await two.until(lambda: host(1) in two.routes, "best path")
            await world.announce(two, 1, host(1))
            await world.until_state(1, lambda state: state.accepted == 1)
            await one.send(Update(withdrawn=(host(1),)))
            second = world.place.peers[1]
            for talk in (one, watcher):
                await talk.until_route(host(1), "second path", next_hop=second)
            await two.until(lambda: host(1) not in two.routes, "withdrawal of the path that has gone")

    @pytest.mark.asyncio
    async def test_what_a_dying_peer_said_last_is_not_left_behind(self, open_world: OpenWorld) -> None:
        """Routes that come together with the end of the session go with it."""
        async with open_world() as world:
            hosts = [host(number) for number in range(10, 810)]
            dying, watcher = await world.client(0, *hosts), await world.client(1, host(1))
            await world.announce(dying, 0, *hosts)
            await dying.aclose()
            await world.until_state(0, lambda state: not state.established)
            await watcher.expect(Keepalive)
            await world.announce(watcher, 1, host(1))
            await watcher.until(lambda: not watcher.routes, "withdrawal of everything")
            again = await world.establish(0)
            await again.until(lambda: host(1) in again.routes, "the watcher's path")
            assert set(again.routes) == {host(1)}
            assert not watcher.routes
