"""Few calls, each of them paced; and trouble with any of them heals without a foreign route touched."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from plugins.cloud_pve.tests.pve_world import (
    GATEWAY,
    NIC,
    OFF,
    ON,
    REMOTE,
    Home,
    SteppingClock,
    create,
    delete,
    key,
    options,
    started,
)

from routerd.errors import TransientError
from routerd.model.change import Change
from routerd.testing.context import CountingPacer, CountingPacing, make_context
from routerd_cloud_pve.limits import BURST, CALLS_A_SECOND
from routerd_cloud_pve.plugin import PveFabric
from routerd_lab.clouds.trouble import Kind, Trouble

pytestmark = pytest.mark.cloud


def prefixes(count: int) -> list[IPv4Network]:
    return [IPv4Network((int(IPv4Address("10.64.0.0")) + number, 32)) for number in range(count)]


@pytest.mark.parametrize("count", [1, 50, 400])
async def test_a_change_of_any_size_is_a_look_and_a_command(
    fabric: PveFabric, home: Home, count: int
) -> None:
    """Each is a start and a question of how it ended."""
    await fabric.instance()
    await fabric.routes.observe()
    calls = home.host.troubles.record
    calls.clear()
    assert await fabric.routes.apply([create(prefix) for prefix in prefixes(count)]) == {}
    assert len(calls) == 4
    calls.clear()
    assert len(await fabric.routes.observe()) == count
    assert len(calls) == 2
    calls.clear()
    assert await fabric.routes.apply([create(prefix) for prefix in prefixes(count)]) == {}
    assert len(calls) == 2


async def test_a_quiet_hour_is_some_twenty_reads(fabric: PveFabric, home: Home) -> None:
    """A cloud that nothing changes is read every 15 minutes."""
    await fabric.instance()
    home.host.troubles.record.clear()
    for _ in range(4):
        await fabric.forwarding.observe()
        await fabric.routes.observe()
    assert home.host.troubles.count("GET options") == 4
    assert len(home.host.troubles.calls) == 4 * (3 + 2)


async def test_every_call_takes_a_token_of_the_host(home: Home, tmp_path: Path) -> None:
    context = make_context(tmp_path, clock=SteppingClock())
    pacing = context.pacing
    assert isinstance(pacing, CountingPacing)
    fabric = PveFabric(context, options(tmp_path))
    await fabric.start()
    await fabric.instance()
    await fabric.forwarding.apply([Change(key=NIC, before=OFF, after=ON)])
    await fabric.routes.apply([create(REMOTE[0])])
    await fabric.diagnose()
    await fabric.aclose()
    pacer = pacing.pacers["pve.example"]
    assert (pacer.rate, pacer.burst) == (CALLS_A_SECOND, BURST)
    assert pacer.taken == len(home.host.troubles.calls) > 10
    assert pacer.holds == []


@pytest.mark.parametrize(("asked", "held"), [(7, 7.0), (None, 10.0)])
async def test_a_proxy_that_throttles_is_obeyed(
    home: Home, tmp_path: Path, asked: int | None, held: float
) -> None:
    context = make_context(tmp_path, clock=SteppingClock())
    fabric = PveFabric(context, options(tmp_path, guests=(101, 102)))
    await fabric.start()
    await fabric.instance()
    home.host.troubles.fail_next("POST exec", status=429, code="Too Many Requests", retry_after=asked)
    with pytest.raises(TransientError, match="too many requests") as caught:
        await fabric.routes.observe()
    assert caught.value.retry_after is not None
    assert caught.value.retry_after.total_seconds() == held
    assert isinstance(context.pacing, CountingPacing)
    pacer = context.pacing.pacers["pve.example"]
    assert isinstance(pacer, CountingPacer)
    assert pacer.holds == [held]
    assert home.host.troubles.count("POST exec") == 1
    await fabric.aclose()


CALLS = 13
"""As many as a pass makes in which everything is to be done."""


@pytest.mark.parametrize("kind", [Kind.FAIL, Kind.FAIL_AFTER, Kind.CLOSE, Kind.LOSE, Kind.THROTTLE])
@pytest.mark.parametrize("nth", range(CALLS))
async def test_whatever_happens_to_a_call_the_end_is_right_and_nothing_foreign_is_touched(
    home: Home, tmp_path: Path, nth: int, kind: Kind
) -> None:
    """A restart in between changes nothing either: what counts is read, not remembered."""
    old, wanted = prefixes(2), REMOTE[:2]
    for prefix in old:
        home.client.lead(prefix, GATEWAY)
    home.place_foreign(REMOTE[2])
    before = home.client.find(REMOTE[2])
    home.host.troubles.add(Trouble(kind=kind, skip=nth))

    async def converge() -> bool:
        async with started(tmp_path, options(tmp_path)) as fabric:
            try:
                await fabric.instance()
                observed = await fabric.forwarding.observe()
                switches = [
                    Change(key=nic, before=now, after=ON) for nic, now in observed.items() if now != ON
                ]
                failed = bool(await fabric.forwarding.apply(switches))
                present = await fabric.routes.observe()
                changes = [create(prefix) for prefix in REMOTE if key(prefix) not in present]
                changes += [delete(prefix) for prefix in old if key(prefix) in present]
                refused = fabric.routes.foresee(changes)
                assert set(refused) <= {key(REMOTE[2])}
                due = [change for change in changes if change.key not in refused]
                return not await fabric.routes.apply(due) and not failed
            except TransientError:
                return False

    outcomes = [await converge() for _ in range(3)]
    assert outcomes[1:] == [True, True]
    assert home.host.troubles.pending == ()
    assert home.ours(home.client) == set(wanted)
    assert home.client.find(REMOTE[2]) == before
    assert home.host.guests[100].firewall == {"enable": 1, "ipfilter": 0}
