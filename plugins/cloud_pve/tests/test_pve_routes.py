"""Routes in guests: made in few commands, conditional in the guest's own kernel, never anybody else's."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import attrs
import pytest
from plugins.cloud_pve.tests.pve_world import (
    GATEWAY,
    REMOTE,
    ROUTE,
    Home,
    create,
    delete,
    key,
    options,
    started,
    written,
)
from tests.support.guest_kernel import KernelRoute

from routerd.errors import NotOwnedError, PermanentError, SupersededError
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute, FabricRouteKey, RouteTableRef
from routerd_cloud_pve.config import Guest as GuestOptions
from routerd_cloud_pve.plugin import PveFabric
from routerd_lab.clouds.pve_guest import Ended

pytestmark = pytest.mark.cloud


async def test_routes_are_made_in_one_command_and_a_second_apply_writes_nothing(
    fabric: PveFabric, home: Home
) -> None:
    changes = [create(prefix) for prefix in REMOTE]
    assert await fabric.routes.apply(changes) == {}
    assert home.ours(home.client) == set(REMOTE)
    assert {route.device for route in home.client.routes if route.prefix in REMOTE} == {"ens19"}
    assert await fabric.routes.observe() == dict.fromkeys(map(key, REMOTE), ROUTE)
    assert await fabric.routes.apply(changes) == {}
    assert written(home.client) == 1
    assert await fabric.routes.apply([delete(prefix) for prefix in REMOTE]) == {}
    assert home.ours(home.client) == set()


async def test_without_a_device_the_guest_finds_it(home: Home, tmp_path: Path) -> None:
    given = attrs.evolve(options(tmp_path), guests=(GuestOptions(vmid=101),))
    async with started(tmp_path, given) as fabric:
        assert await fabric.routes.apply([create(REMOTE[0])]) == {}
        made = home.client.find(REMOTE[0])
        assert made is not None
        assert made.device == "ens19"


async def test_a_device_that_the_guest_does_not_have_is_said(home: Home, tmp_path: Path) -> None:
    given = attrs.evolve(options(tmp_path), guests=(GuestOptions(vmid=101, device="eth9"),))
    async with started(tmp_path, given) as fabric:
        failures = await fabric.routes.apply([create(REMOTE[0])])
        assert 'guest 101 route 10.81.10.20/32: Cannot find device "eth9"' in str(failures[key(REMOTE[0])])


async def test_more_routes_than_one_request_takes_are_made_in_several(fabric: PveFabric, home: Home) -> None:
    many = [IPv4Network((int(IPv4Address("10.64.0.0")) + number, 32)) for number in range(2500)]
    assert await fabric.routes.apply([create(prefix) for prefix in many]) == {}
    assert home.ours(home.client) == set(many)
    assert 2 <= written(home.client) <= 8
    assert len(await fabric.routes.observe()) == 2500
    assert await fabric.routes.apply([delete(prefix) for prefix in many]) == {}
    assert home.ours(home.client) == set()


async def test_a_restarted_guest_is_seen_to_lack_its_routes(fabric: PveFabric, home: Home) -> None:
    assert await fabric.routes.apply([create(REMOTE[0])]) == {}
    home.client.restart()
    assert await fabric.routes.observe() == {}
    assert await fabric.routes.apply([create(REMOTE[0])]) == {}
    assert home.ours(home.client) == {REMOTE[0]}


async def test_a_guest_with_an_old_iproute2_is_served_too(fabric: PveFabric, home: Home) -> None:
    home.client.numeric = False
    assert await fabric.routes.apply([create(REMOTE[0])]) == {}
    assert await fabric.routes.observe() == {key(REMOTE[0]): ROUTE}


async def test_a_foreign_route_is_named_and_left_alone(fabric: PveFabric, home: Home) -> None:
    home.place_foreign(REMOTE[1])
    failures = await fabric.routes.apply([create(prefix) for prefix in REMOTE])
    assert set(failures) == {key(REMOTE[1])}
    assert isinstance(failures[key(REMOTE[1])], NotOwnedError)
    assert "leads to 10.99.9.77 (protocol 4), not a router of this site" in str(failures[key(REMOTE[1])])
    failures = await fabric.routes.apply([delete(prefix) for prefix in REMOTE])
    assert {each: type(error) for each, error in failures.items()} == {key(REMOTE[1]): SupersededError}
    standing = home.client.find(REMOTE[1])
    assert standing is not None
    assert standing.gateway == IPv4Address("10.99.9.77")


async def test_of_two_routes_to_a_prefix_the_one_that_is_used_counts(fabric: PveFabric, home: Home) -> None:
    assert await fabric.routes.apply([create(REMOTE[0])]) == {}
    home.place_foreign(REMOTE[0], metric=50)
    assert await fabric.routes.observe() == {key(REMOTE[0]): ROUTE}
    assert await fabric.routes.apply([delete(REMOTE[0])]) == {}
    (left,) = [route for route in home.client.routes if route.prefix == REMOTE[0]]
    assert left.metric == 50


async def test_a_route_to_us_without_our_mark_is_foreign(fabric: PveFabric, home: Home) -> None:
    home.client.routes.append(KernelRoute(prefix=REMOTE[0], device="ens19", gateway=GATEWAY, protocol=4))
    assert await fabric.routes.observe() == {}
    failures = await fabric.routes.apply([create(REMOTE[0])])
    assert isinstance(failures[key(REMOTE[0])], NotOwnedError)


async def test_a_route_made_by_somebody_else_in_between_is_foreign(fabric: PveFabric, home: Home) -> None:
    run = home.client.run

    async def racing(command: Sequence[str], text: str) -> Ended:
        if "-batch" in command and home.client.find(REMOTE[0]) is None:
            home.place_foreign(REMOTE[0])
        return await run(command, text)

    home.client.run = racing  # type: ignore[method-assign] - the other writer comes between read and write
    failures = await fabric.routes.apply([create(prefix) for prefix in REMOTE])
    assert set(failures) == {key(REMOTE[0])}
    assert isinstance(failures[key(REMOTE[0])], NotOwnedError)
    assert home.ours(home.client) == set(REMOTE[1:])


async def test_a_route_that_becomes_foreign_before_its_deletion_stays(fabric: PveFabric, home: Home) -> None:
    assert await fabric.routes.apply([create(REMOTE[0])]) == {}
    run = home.client.run

    async def racing(command: Sequence[str], text: str) -> Ended:
        if "-batch" in command:
            home.client.restart()
            home.place_foreign(REMOTE[0])
        return await run(command, text)

    home.client.run = racing  # type: ignore[method-assign] - as above
    # Ours is gone, as requested; the kernel refused to delete the other one.
    (error,) = (await fabric.routes.apply([delete(REMOTE[0])])).values()
    assert isinstance(error, SupersededError)
    standing = home.client.find(REMOTE[0])
    assert standing is not None
    assert standing.gateway == IPv4Address("10.99.9.77")


async def test_another_next_hop_and_another_guest_are_refused(fabric: PveFabric, home: Home) -> None:
    elsewhere = Change(key=key(REMOTE[0]), before=None, after=FabricRoute(next_hop="10.99.9.77"))
    failures = await fabric.routes.apply([elsewhere])
    assert isinstance(failures[key(REMOTE[0])], PermanentError)
    stranger = FabricRouteKey(table=RouteTableRef("qemu/102"), prefix=REMOTE[0])
    failures = await fabric.routes.apply([Change(key=stranger, before=None, after=ROUTE)])
    assert isinstance(failures[stranger], NotOwnedError)
    assert written(home.client) == written(home.other) == 0
