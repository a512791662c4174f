"""What storms have found, step by step: each of these once ended wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.cloud.account import Account
from tests.cloud.account_aws import AwsAccount
from tests.cloud.account_azure import AzureAccount
from tests.cloud.account_oci import OciAccount
from tests.cloud.account_pve import PveAccount
from tests.cloud.chaos_process import HOLD_DOWN
from tests.cloud.chaos_verdict import faults
from tests.cloud.chaos_world import Ambush, World
from tests.cloud.ledger import Ledger
from tests.cloud.storm_time import WatchedLoop

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(300)]

ACCOUNTS = pytest.mark.parametrize("account", [AzureAccount, OciAccount, PveAccount])


def storm(account: Account, directory: Path, story: Callable[[World], Awaitable[None]]) -> None:
    """Tell a story in a world, and judge how it ends."""

    async def told() -> None:
        async with World(account=account, directory=directory).served() as world:
            await story(world)
            await world.calm(aggregate=False)
            assert [*world.wrongs, *faults(world)] == []

    with asyncio.Runner(loop_factory=WatchedLoop) as runner:
        runner.run(told())


@ACCOUNTS
def test_who_dies_after_a_write_notes_at_the_next_start_that_it_was_made(
    account: Callable[[], Account], place: Path
) -> None:
    async def story(world: World) -> None:
        prefix = world.account.prefixes[0]
        await world.start()
        world.kill_at(1, "after", write=True)
        await world.want([prefix])
        if world.process is None:
            await world.start()
        await world.want([prefix])

    storm(account(), place, story)
    assert {line.outcome for line in Ledger.read(place / "state" / "routerd.db").lines} == {"done"}


@ACCOUNTS
def test_what_was_made_by_who_died_and_removed_by_somebody_is_ours_no_longer(
    account: Callable[[], Account], place: Path
) -> None:
    async def story(world: World) -> None:
        prefix, table = world.account.prefixes[0], world.account.tables[0]
        await world.start()
        await world.want([])
        world.kill_at(1, "after", write=True)
        await world.want([prefix])
        assert world.process is None
        world.meddle(lambda: world.account.remove(table, prefix))
        await world.want([])
        await world.start()

    storm(account(), place, story)


@ACCOUNTS
def test_what_somebody_makes_to_us_long_after_we_lost_ours_is_left_alone(
    account: Callable[[], Account], place: Path
) -> None:
    made = account()
    prefix, table = made.prefixes[0], made.tables[0]

    async def story(world: World) -> None:
        await world.start()
        await world.want([prefix])
        world.meddle(lambda: made.place(table, prefix, "elsewhere", "a"))
        await world.want([])
        await world.advance(2 * 3600.0)
        world.meddle(lambda: made.place(table, prefix, "to us", "a"))
        await world.advance(2 * 3600.0)

    storm(made, place, story)
    assert (table, str(prefix)) in made.view().ours


@ACCOUNTS
def test_a_switch_that_was_set_by_who_died_is_noted_as_set(
    account: Callable[[], Account], place: Path
) -> None:
    async def story(world: World) -> None:
        world.kill_at(1, "after", write=True)
        await world.start()
        assert world.process is None
        assert world.account.view().switch
        await world.start()

    storm(account(), place, story)


@pytest.mark.parametrize("making", [True, False], ids=["made", "deleted"])
@pytest.mark.parametrize("nth", range(1, 5))
@pytest.mark.parametrize("account", [AwsAccount, AzureAccount, OciAccount, PveAccount])
def test_what_is_somebody_elses_at_the_nth_call_of_a_pass_is_left_alone(
    account: Callable[[], Account], nth: int, making: bool, place: Path
) -> None:
    made = account()
    prefix, table = made.prefixes[0], made.tables[0]

    async def story(world: World) -> None:
        def ambush() -> None:
            def deed() -> None:
                world.meddle(lambda: made.place(table, prefix, "elsewhere", "a"))

            world.ambushes.append(Ambush(countdown=nth, side="before", deed=deed, somebodys=True))

        await world.start()
        if making:
            ambush()
            await world.want([prefix])
            return
        await world.want([prefix])
        await world.want([])
        await world.advance(HOLD_DOWN - 1.0)
        ambush()
        await world.advance(5.0)

    storm(made, place, story)


@ACCOUNTS
def test_a_deletion_that_was_killed_before_the_call_and_is_wanted_back_has_an_end(
    account: Callable[[], Account], place: Path
) -> None:
    async def story(world: World) -> None:
        prefix = world.account.prefixes[0]
        await world.start()
        await world.want([prefix])
        await world.want([])
        world.kill_at(1, "before", write=True)
        await world.advance(HOLD_DOWN + 1.0)
        assert world.process is None
        await world.want([prefix])
        await world.start()

    storm(account(), place, story)
