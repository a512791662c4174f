"""Several routers at one site: taken over and given back on the condition of what was read, else not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from plugins.cloud_pve.tests.pve_world import (
    OTHER,
    REMOTE,
    ROUTE,
    THEIRS,
    Home,
    SteppingClock,
    create,
    delete,
    key,
    options,
)

from routerd.errors import NotOwnedError, PermanentError, SupersededError, TransientError
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute
from routerd.testing.context import make_context
from routerd_cloud_pve.plugin import PveFabric
from routerd_lab.clouds.pve_guest import Ended

pytestmark = pytest.mark.cloud

TAKEOVER = Change(key=key(REMOTE[0]), before=THEIRS, after=ROUTE)
UNDO = Change(key=key(REMOTE[0]), before=ROUTE, after=THEIRS)


@pytest.fixture
async def shared(home: Home, tmp_path: Path) -> AsyncIterator[PveFabric]:
    fabric = PveFabric(make_context(tmp_path, clock=SteppingClock()), options(tmp_path))
    fabric.share(frozenset({str(OTHER), "10.99.9.3", "10.99.9.1"}))
    await fabric.start()
    yield fabric
    await fabric.aclose()


def between(home: Home, *, gateway: str | None, protocol: int = 147) -> None:
    """Let somebody change the route after it was read and before it is written."""
    run = home.client.run

    async def racing(command: Sequence[str], text: str) -> Ended:
        if "-batch" in command:
            home.client.run = run  # type: ignore[method-assign] - as below
            home.client.routes = [each for each in home.client.routes if each.prefix != REMOTE[0]]
            if gateway is not None and protocol == 147:
                home.client.lead(REMOTE[0], IPv4Address(gateway))
            elif gateway is not None:
                home.place_foreign(REMOTE[0])
        return await run(command, text)

    home.client.run = racing  # type: ignore[method-assign] - the other writer comes between


def leads(home: Home) -> str:
    standing = home.client.find(REMOTE[0])
    assert standing is not None
    return str(standing.gateway)


async def test_a_takeover_is_one_command_that_shows_what_came_of_it(shared: PveFabric, home: Home) -> None:
    home.client.lead(REMOTE[0], OTHER)
    home.host.troubles.record.clear()
    await shared.instance()
    assert await shared.routes.apply([TAKEOVER]) == {}
    assert leads(home) == "10.99.9.1"
    read, write = ["POST exec", "GET exec-status"], ["POST exec", "GET exec-status"]
    assert home.host.troubles.calls == ["GET resources", *read, *write]
    assert len([route for route in home.client.routes if route.prefix == REMOTE[0]]) == 1


async def test_a_third_router_that_was_faster_is_named_and_keeps_the_route(
    shared: PveFabric, home: Home
) -> None:
    home.client.lead(REMOTE[0], OTHER)
    between(home, gateway="10.99.9.3")
    failures = await shared.routes.apply([TAKEOVER])
    assert isinstance(failures[key(REMOTE[0])], TransientError)
    assert "leads to 10.99.9.3, another router of the site" in str(failures[key(REMOTE[0])])
    assert leads(home) == "10.99.9.3"


async def test_a_route_that_becomes_foreign_is_not_taken_over(shared: PveFabric, home: Home) -> None:
    home.client.lead(REMOTE[0], OTHER)
    between(home, gateway="10.99.9.77", protocol=4)
    failures = await shared.routes.apply([TAKEOVER])
    assert isinstance(failures[key(REMOTE[0])], NotOwnedError)
    assert leads(home) == "10.99.9.77"


@pytest.mark.parametrize("change", [TAKEOVER, UNDO])
async def test_a_route_that_goes_meanwhile_is_made(shared: PveFabric, home: Home, change: Change) -> None:
    home.client.lead(REMOTE[0], IPv4Address(change.before.next_hop))
    between(home, gateway=None)
    assert await shared.routes.apply([change]) == {}
    assert leads(home) == change.after.next_hop


async def test_an_undo_that_comes_too_late_takes_nothing_away(shared: PveFabric, home: Home) -> None:
    home.client.lead(REMOTE[0], IPv4Address("10.99.9.3"))
    failures = await shared.routes.apply([UNDO])
    assert isinstance(failures[key(REMOTE[0])], SupersededError)
    assert leads(home) == "10.99.9.3"


async def test_a_creation_is_no_takeover(shared: PveFabric, home: Home) -> None:
    home.client.lead(REMOTE[0], OTHER)
    failures = await shared.routes.apply([create(REMOTE[0])])
    assert isinstance(failures[key(REMOTE[0])], TransientError)
    assert "leads to 10.99.9.2, another router of the site" in str(failures[key(REMOTE[0])])
    assert leads(home) == str(OTHER)


async def test_what_the_other_took_over_is_not_deleted(shared: PveFabric, home: Home) -> None:
    home.client.lead(REMOTE[0], IPv4Address("10.99.9.1"))
    between(home, gateway=str(OTHER))
    failures = await shared.routes.apply([delete(REMOTE[0])])
    assert isinstance(failures[key(REMOTE[0])], SupersededError)
    assert leads(home) == str(OTHER)


@pytest.mark.parametrize("next_hop", [str(OTHER), "10.99.9.99", "eni-0"])
async def test_no_route_is_made_for_somebody_else(shared: PveFabric, home: Home, next_hop: str) -> None:
    change = Change(key=key(REMOTE[0]), before=None, after=FabricRoute(next_hop=next_hop))
    failures = await shared.routes.apply([change])
    assert isinstance(failures[key(REMOTE[0])], PermanentError)
    assert home.client.find(REMOTE[0]) is None


async def test_a_foreign_blackhole_stays_and_is_called_one(shared: PveFabric, home: Home) -> None:
    assert (await home.client.run(("ip", "route", "add", "blackhole", str(REMOTE[0])), "")).status == 0
    assert await shared.routes.observe() == {}
    (foreseen,) = shared.routes.foresee([create(REMOTE[0])]).values()
    assert isinstance(foreseen, NotOwnedError)
    assert "10.81.10.20/32: leads to blackhole (protocol 3), not a router of this site" in str(foreseen)
    failures = await shared.routes.apply([create(REMOTE[0])])
    assert str(failures[key(REMOTE[0])]) == str(foreseen)
    standing = home.client.find(REMOTE[0])
    assert standing is not None
    assert standing.type == 6


async def test_a_router_that_is_no_address_is_named_before_anything_is_asked(
    home: Home, tmp_path: Path
) -> None:
    fabric = PveFabric(make_context(tmp_path, clock=SteppingClock()), options(tmp_path))
    fabric.share(frozenset({"eni-0", str(OTHER)}))
    with pytest.raises(PermanentError, match="takeoverFrom names eni-0; that is not the address of a router"):
        await fabric.start()
    assert home.host.troubles.calls == []
