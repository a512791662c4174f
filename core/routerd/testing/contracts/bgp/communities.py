"""What a BGP speaker must do with import policies that name communities (RFC 1997)."""

from __future__ import annotations

import attrs
import pytest

from routerd.model.session import ImportPolicy
from routerd.testing.bgp import Notification, Update
from routerd.testing.contracts.bgp.world import BgpWorldContract, OpenWorld, World, host, learned_from

RED, GREEN, BLUE = "64512:100", "64512:200", "65535:65281"
"""The last one is `no-export`."""

MISSING, FORBIDDEN = "missing-required-community", "forbidden-community"
"""Reason codes; they are the same for every routing plugin."""

HOSTS = tuple(host(number) for number in range(1, 7))
ADMITTED = ImportPolicy(hosts=frozenset(HOSTS), next_hop="unchanged")


def asks(*required: str, forbids: tuple[str, ...] = ()) -> ImportPolicy:
    """Return a policy that admits `HOSTS` with these communities."""
    return attrs.evolve(
        ADMITTED, required_communities=frozenset(required), forbidden_communities=frozenset(forbids)
    )


class BgpCommunityRules(BgpWorldContract):
    """Rules of communities in import policies. Part of `BgpContract`."""

    @staticmethod
    async def _until_learned(world: World, *numbers: int) -> None:
        expected = {host(number) for number in numbers}
        await world.until_routes(lambda routes: learned_from(routes, world.place.peers[0]) == expected)

    @pytest.mark.asyncio
    async def test_all_that_are_required_and_none_that_is_forbidden(self, open_world: OpenWorld) -> None:
        """Everything else is refused before reflection, with a reason; more communities do no harm."""
        async with open_world() as world:
            source = await world.client(0, policy=asks(RED, GREEN, forbids=("no-export", "64512:9")))
            watcher = await world.client(1)
            await world.announce(source, 0, host(1))
            await world.announce(source, 0, host(2), communities=[RED])
            await world.announce(source, 0, host(3), communities=[RED, GREEN, BLUE])
            await world.announce(source, 0, host(4), communities=["64512:9"])
            await world.announce(source, 0, host(7), communities=[RED, GREEN])
            await world.announce(source, 0, host(5), communities=[GREEN, "64512:300", RED])
            await watcher.until(lambda: host(5) in watcher.routes, "admitted path")
            assert set(watcher.routes) == {host(5)}
            assert not any(watcher.mentions(host(number)) for number in (1, 2, 3, 4, 7))
            state = await world.until_state(0, lambda state: state.received == 6)
            counted = dict(state.rejected)
            assert state.accepted == 1
            assert (counted[MISSING], counted[FORBIDDEN]) == (2, 2)
            assert sum(counted.values()) == 5, "whose prefix it is counts whatever it carries"
            rejected = {each.prefix: each.reason for each in (await world.routes()).rejected}
            assert rejected[host(2)] == MISSING
            assert rejected[host(4)] == FORBIDDEN
            assert not source.ended

    @pytest.mark.asyncio
    async def test_a_path_that_loses_its_communities_is_gone(self, open_world: OpenWorld) -> None:
        """A refused path takes away the one that it replaces, and comes back when it fits (RFC 4271/3.1)."""
        async with open_world() as world:
            source = await world.client(0, policy=asks(RED, forbids=(GREEN,)))
            watcher = await world.client(1)
            for refused in ([], [RED, GREEN]):
                await world.announce(source, 0, host(1), communities=[RED])
                await watcher.until(lambda: host(1) in watcher.routes, "path that fits")
                await self._until_learned(world, 1)
                await world.announce(source, 0, host(1), communities=refused)
                await watcher.until(lambda: host(1) not in watcher.routes, "path that fits no more")
                await self._until_learned(world)
            state = await world.until_state(0, lambda state: state.rejected)
            assert (state.received, state.accepted, state.rejected) == (1, 0, ((FORBIDDEN, 1),))

    @pytest.mark.asyncio
    async def test_the_last_communities_of_a_burst_count(self, open_world: OpenWorld) -> None:
        """Also while what was said before is not processed yet."""
        async with open_world() as world:
            source, watcher = await world.client(0, policy=asks(RED)), await world.client(1)
            for _ in range(50):
                await world.announce(source, 0, host(1), host(2), communities=[RED])
                await world.announce(source, 0, host(1), host(2))
                await world.announce(source, 0, host(2), communities=[RED])
            await world.announce(source, 0, host(3), communities=[RED])
            await watcher.until(lambda: set(watcher.routes) == {host(2), host(3)}, "what was said last")
            await self._until_learned(world, 2, 3)

    @pytest.mark.asyncio
    async def test_a_rival_takes_over_from_a_path_that_fits_no_more(self, open_world: OpenWorld) -> None:
        """The better path goes by its communities, and the other neighbour's is reflected."""
        async with open_world() as world:
            first = await world.client(0, policy=asks(RED))
            second, watcher = await world.client(1, *HOSTS), await world.client(2)
            await world.announce(second, 1, host(1))
            await world.announce(first, 0, host(1), communities=[RED], local_preference=200)
            better, other = world.place.peers[:2]
            await watcher.until(
                lambda: host(1) in watcher.routes and watcher.routes[host(1)].next_hop == better, "best path"
            )
            await world.announce(first, 0, host(1), local_preference=200)
            await watcher.until(
                lambda: host(1) in watcher.routes and watcher.routes[host(1)].next_hop == other, "the other"
            )
            await self._until_learned(world)

    @pytest.mark.asyncio
    async def test_a_withdrawal_needs_no_communities(self, open_world: OpenWorld) -> None:
        """It has no attributes at all (RFC 4271/4.3), and ends a refused path as well."""
        async with open_world() as world:
            source, watcher = await world.client(0, policy=asks(RED)), await world.client(1)
            await world.announce(source, 0, host(1), communities=[RED])
            await world.announce(source, 0, host(2))
            await watcher.until(lambda: host(1) in watcher.routes, "path that fits")
            await world.until_state(0, lambda state: state.received == 2)
            await source.send(Update(withdrawn=(host(1), host(2))))
            await watcher.until(lambda: host(1) not in watcher.routes, "withdrawal")
            state = await world.until_state(0, lambda state: state.received == 0)
            assert (state.accepted, state.rejected) == (0, ())

    @pytest.mark.asyncio
    async def test_communities_that_the_policy_names_anew_count_without_a_reset(
        self, open_world: OpenWorld
    ) -> None:
        """What the neighbour has sent already is judged again; the session does not notice."""
        async with open_world() as world:
            source, watcher = await world.client(0, policy=ADMITTED), await world.client(1)
            await world.announce(source, 0, host(1), communities=[RED])
            await world.announce(source, 0, host(2), communities=[RED, GREEN])
            await world.announce(source, 0, host(3))
            await watcher.until(lambda: set(watcher.routes) == set(HOSTS[:3]), "all paths")
            before = await world.state(0)
            for policy, numbers in (
                (asks(RED), (1, 2)),
                (asks(forbids=(GREEN,)), (1, 3)),
                (asks(RED, forbids=(GREEN,)), (1,)),
                (asks(RED, GREEN), (2,)),
                (ADMITTED, (1, 2, 3)),
            ):
                await world.admit(0, policy=policy)
                expected = {host(number) for number in numbers}
                await watcher.until_prefixes(expected, f"paths under {policy}")
                await self._until_learned(world, *numbers)
            assert not source.ended
            assert not source.all(Notification)
            assert (await world.state(0)).since == before.since

    @pytest.mark.asyncio
    async def test_a_place_below_the_maximum_is_for_paths_that_fit(self, open_world: OpenWorld) -> None:
        """A path that is refused by its communities takes no place, and one that loses them leaves it."""
        async with open_world() as world:
            policy = attrs.evolve(asks(RED), max_prefixes=1)
            source, watcher = await world.client(0, policy=policy), await world.client(1)
            await world.announce(source, 0, host(1))
            await world.announce(source, 0, host(2), communities=[RED])
            await watcher.until(lambda: set(watcher.routes) == {host(2)}, "path that fits")
            await world.announce(source, 0, host(2))
            await world.announce(source, 0, host(3), communities=[RED])
            await watcher.until(lambda: set(watcher.routes) == {host(3)}, "path in the place that is free")
            await self._until_learned(world, 3)
