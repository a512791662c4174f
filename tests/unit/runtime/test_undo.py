"""An undo restores exactly what was there, only if nothing has happened since, and it stays undone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from tests.unit.runtime.action_world import NIC, OFF, ON, OTHERS, OURS, CloudWorld, key

from routerd.errors import ActionRefused, NotOwnedError, PermanentError, StoreError, TransientError
from routerd.model.change import Change
from routerd.model.report.actions import ActionApproval, ActionText
from routerd.runtime.single_runs import remove_ours


@pytest.fixture
async def world(tmp_path: Path) -> Any:
    """A router in mode auto that has made one route and set the switch."""
    made = CloudWorld(tmp_path)
    made.remote = {1}
    await made.passes()
    assert (made.routes, dict(made.switches)) == ({key(1): OURS}, {NIC: ON})
    yield made
    made.store.close()


@pytest.fixture
def full(world: CloudWorld) -> Iterator[Any]:
    """Return a function that makes one method of the journal fail as on a full disk."""
    with mock.patch.object(world.store.journal, "finish", wraps=world.store.journal.finish):
        yield lambda method: mock.patch.object(
            world.store.journal, method, side_effect=StoreError("the disk is full")
        )


async def undo(world: CloudWorld, number: int) -> Any:
    answer = await world.actions.undo(number)
    await world.looks()
    return answer


async def refused(world: CloudWorld, number: int) -> str:
    before = dict(world.routes), dict(world.switches), len(world.entries())
    with pytest.raises(ActionRefused) as caught:
        await world.actions.undo(number)
    assert (dict(world.routes), dict(world.switches), len(world.entries())) == before
    return str(caught.value)


async def test_a_creation_is_removed_and_not_made_again(world: CloudWorld) -> None:
    answer = await undo(world, world.number("create"))
    assert world.routes == {}
    assert answer.text == "remove route 10.99.0.1/32 to nic-1 from table table-1"
    (held,) = await world.open()
    assert (held.state, held.verb) == ("held", "create")
    world.restart()
    await world.looks()
    assert world.routes == {}, "nor after a restart"
    assert world.story() == [("create", "done"), ("delete", "done")]


async def test_an_undo_shows_at_the_next_pass_though_the_cloud_is_read_seldom(world: CloudWorld) -> None:
    await world.actions.undo(world.number("create"))
    assert world.loop._lanes["fabric/aws"].woken.is_set()
    await world.passes()
    assert [each.state for each in await world.open()] == ["held"]


async def test_what_is_held_is_made_again_when_somebody_approves(world: CloudWorld) -> None:
    await undo(world, world.number("create"))
    (held,) = await world.open()
    assert await world.approve(every=True) == ActionApproval(), "--all leaves it alone"
    await world.looks()
    assert world.routes == {}
    await world.approve(held.id)
    await world.passes()
    assert world.routes == {key(1): OURS}
    assert (await world.open(), world.store.journal.holds()) == ([], ())


async def test_in_mode_approve_releasing_is_approving(tmp_path: Path) -> None:
    world = CloudWorld(tmp_path, "approve")
    world.remote = {1}
    await world.passes()
    await world.approve(every=True)
    await world.passes()
    await undo(world, world.number("create"))
    (held,) = await world.open()
    assert held.state == "held"
    await world.approve(held.id)
    await world.passes()
    assert world.routes == {key(1): OURS}
    world.store.close()


async def test_a_hold_outlasts_that_nobody_wants_the_key(world: CloudWorld) -> None:
    """A leaf that is away for a while would else bring back what was undone on purpose."""
    await undo(world, world.number("create"))
    world.remote.clear()
    await world.looks()
    (held,) = await world.open()
    assert held.why.startswith("left alone since entry")
    shown: Any = await world.actions.show(held.id)
    assert [each.verb for each in shown.history] == ["create", "delete"]
    world.remote.add(1)
    await world.looks()
    assert world.routes == {}
    world.remote.clear()
    await world.looks()
    answer = await world.approve(held.id)
    assert answer.released == (ActionText(id=held.id, text="aws table-1 10.99.0.1/32"),)
    world.remote.add(1)
    await world.looks()
    assert world.routes == {key(1): OURS}


async def test_a_switch_gets_its_prior_value(world: CloudWorld) -> None:
    answer = await undo(world, world.number("replace", "forwarding"))
    assert dict(world.switches) == {NIC: OFF}
    assert answer.text == "turn forwarding off for nic-1 (on before)"
    assert [each.state for each in await world.open("forwarding")] == ["held"]


async def test_a_deletion_is_made_again_and_stays(world: CloudWorld) -> None:
    world.remote.clear()
    await world.looks()
    assert world.routes == {}
    await undo(world, world.number("delete"))
    assert world.routes == {key(1): OURS}
    (held,) = await world.open()
    assert (held.verb, held.state) == ("delete", "held")


async def test_a_takeover_is_given_back(world: CloudWorld) -> None:
    world.place(2, OTHERS)
    world.remote.add(2)
    await world.looks()
    assert world.routes[key(2)] == OURS
    answer = await undo(world, world.number("replace"))
    assert world.routes[key(2)] == OTHERS
    assert answer.text == "turn route 10.99.0.2/32 in table table-1 from nic-1 to nic-of-leaf-b"
    assert str(key(2)) not in world.store.journal.owned_keys("aws", "routes"), "it is not ours any more"


async def test_an_undo_can_be_undone_and_then_holds_nothing(world: CloudWorld) -> None:
    made = world.number("create")
    first = await undo(world, made)
    second = await undo(world, first.number)
    assert second.held is False
    assert world.routes == {key(1): OURS}
    assert await world.open() == []
    world.remote.clear()
    await world.looks()
    assert world.routes == {}, "the loop does with it what it does with any other"


# --- refusals -----------------------------------------------------------------------------------------


async def test_what_somebody_has_changed_since_is_left_alone(world: CloudWorld) -> None:
    number = world.number("create")
    world.place(1, OTHERS)
    text = await refused(world, number)
    assert "add route 10.99.0.1/32 to nic-1 in table table-1" in text
    assert "there is now a route to nic-of-leaf-b; nothing was done" in text
    world.place(1, None)
    assert "there is now no route to this router; nothing was done" in await refused(world, number)
    world.cloud.forwarding.content[NIC] = OFF
    number = world.number("replace", "forwarding")
    assert "there is now forwarding off; nothing was done" in await refused(world, number)
    assert world.store.journal.holds() == ()


async def test_only_the_latest_change_of_a_key_is_undone(world: CloudWorld) -> None:
    first = world.number("create")
    world.place(1, None)
    await world.looks()
    second = world.number("create")
    assert second != first
    assert f"entry {second} changed the same thing after entry {first}" in await refused(world, first)
    answer = await undo(world, second)
    assert f"entry {second} was undone already, by entry {answer.number}" == await refused(world, second)


async def test_numbers_that_are_not_there_and_clouds_that_are_not_at_hand_are_named(
    world: CloudWorld,
) -> None:
    assert "entry 4711: not in the journal" in await refused(world, 4711)
    change = Change(key=key(9), before=None, after=OURS)
    (number,) = world.store.journal.begin("gone", "routes", [change])
    assert "profile gone: not available" in await refused(world, number)
    with mock.patch.object(world.cloud.routes, "observe", side_effect=PermanentError("403 Forbidden")):
        assert "routes/aws: cannot be read; 403 Forbidden" in await refused(world, world.number("create"))


async def test_what_the_cloud_refuses_is_said_in_its_words_and_holds_nothing(world: CloudWorld) -> None:
    world.cloud.routes.refusals[key(1)] = NotOwnedError("it leads to eni-9")
    number = world.number("create")
    with pytest.raises(ActionRefused, match=rf"entry {number}: not undone; it leads to eni-9$"):
        await world.actions.undo(number)
    assert world.story() == [("create", "done"), ("delete", "refused: it leads to eni-9")]
    assert world.store.journal.holds() == ()
    world.cloud.routes.refusals[key(1)] = TransientError("503")
    with pytest.raises(ActionRefused, match="503; the cloud may have made the change"):
        await world.actions.undo(number)
    assert len(world.store.journal.holds()) == 1, "whether it happened is not known, so it stays as it is"
    (held,) = await world.open()
    assert "tried to undo it" in held.why


@pytest.mark.parametrize(
    ("column", "words"), [("key_value", "this routerd cannot read it"), ("after", "cannot read it")]
)
async def test_an_entry_that_no_longer_decodes_is_shown_and_not_acted_on(
    world: CloudWorld, column: str, words: str
) -> None:
    number = world.number("create")
    for damage in ("no json", '{"shape": "of tomorrow"}', "[1]"):
        world.store._connection.execute(f"UPDATE journal SET {column} = ? WHERE number = ?", (damage, number))
        assert words in await refused(world, number)
        assert (await world.actions.listing(profile=None, limit=20)).journal
        shown: Any = await world.actions.show(str(number))
        assert shown.undo.possible is False


# --- interruptions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["", "failed: timed out"])
async def test_what_failed_or_was_interrupted_is_undone_if_it_happened(
    world: CloudWorld, outcome: str
) -> None:
    (number,) = world.store.journal.begin("aws", "routes", [Change(key=key(2), before=None, after=OURS)])
    if outcome:
        world.store.journal.finish({number: outcome})
    assert "so it did not happen, or somebody has changed it since" in await refused(world, number)
    world.place(2, OURS)  # it had happened after all
    await undo(world, number)
    assert world.routes == {key(1): OURS}


async def test_a_kill_between_the_note_of_an_undo_and_the_undo_leaves_it_to_be_asked_again(
    world: CloudWorld,
) -> None:
    number = world.number("create")
    change = Change(key=key(1), before=OURS, after=None)
    world.store.journal.begin_undo("aws", "routes", change, undoes=number)
    world.restart()
    await world.looks()
    assert world.routes == {key(1): OURS}
    assert [each.state for each in await world.open()] == ["held"]
    await undo(world, number)
    assert world.routes == {}


async def test_a_kill_between_an_undo_and_its_end_leaves_it_undone(world: CloudWorld) -> None:
    number = world.number("create")
    change = Change(key=key(1), before=OURS, after=None)
    open_entry = world.store.journal.begin_undo("aws", "routes", change, undoes=number)
    world.place(1, None)
    world.restart()
    await world.looks()
    assert world.routes == {}, "the hold was written down before"
    assert await refused(world, number) == f"entry {number} was undone already, by entry {open_entry}"


async def test_with_a_full_disk_nothing_is_undone(world: CloudWorld, full: Any) -> None:
    with full("begin_undo"):
        assert "the journal cannot record it: the disk is full" in await refused(
            world, world.number("create")
        )
    await world.looks()
    assert world.routes == {key(1): OURS}


async def test_a_disk_that_is_full_at_the_end_of_an_undo_leaves_it_undone(
    world: CloudWorld, full: Any
) -> None:
    number = world.number("create")
    with full("finish"):
        await undo(world, number)
    assert world.routes == {}
    await world.looks()
    assert world.routes == {}
    assert world.story() == [("create", "done"), ("delete", "")]
    assert "was undone already" in await refused(world, number)


async def test_an_undo_waits_for_the_pass_that_runs_and_no_pass_overtakes_it(world: CloudWorld) -> None:
    """There is one writer at a time, and what the pass had planned before is not made after the undo."""
    number = world.number("create")
    begun, release, calls = asyncio.Event(), asyncio.Event(), []
    real = world.cloud.routes.apply

    async def slow(changes: Any) -> Any:
        calls.append(f"begin {changes[0].verb}")
        begun.set()
        await release.wait()
        found = await real(changes)
        calls.append(f"end {changes[0].verb}")
        return found

    world.remote.add(2)
    with mock.patch.object(world.cloud.routes, "apply", slow):
        running = asyncio.create_task(world.loop.run_once("fabric/aws"))
        await begun.wait()
        undone = asyncio.create_task(world.actions.undo(number))
        twice = asyncio.create_task(world.actions.undo(number))
        again = asyncio.create_task(world.loop.run_once("fabric/aws"))
        await asyncio.sleep(0.05)
        assert calls == ["begin create"]
        release.set()
        await asyncio.gather(running, undone, again)
        with pytest.raises(ActionRefused, match="was undone already"):
            await twice
    await world.looks()
    assert calls == ["begin create", "end create", "begin delete", "end delete"]
    assert world.routes == {key(2): OURS}


# --- routerd down -------------------------------------------------------------------------------------


async def test_down_restores_what_was_there_before_us(world: CloudWorld) -> None:
    """A switch, a route that was taken over, and nothing where there was nothing."""
    world.place(2, OTHERS)
    world.remote.add(2)
    await world.looks()
    assert world.routes == {key(1): OURS, key(2): OURS}
    removed = await remove_ours(world, world.store)  # type: ignore[arg-type]
    assert removed.failed == ()
    assert world.routes == {key(2): OTHERS}
    assert dict(world.switches) == {NIC: OFF}
    assert await remove_ours(world, world.store) == removed.__class__(done=(), failed=())  # type: ignore[arg-type]


async def test_a_route_that_another_takes_before_its_removal_is_superseded(world: CloudWorld) -> None:
    """`routerd down` lists no failure, and no undo touches what is there now."""
    read = world.cloud.routes.observe

    async def and_then_it_is_taken() -> Any:
        found = await read()
        world.place(1, OTHERS)
        return found

    with mock.patch.object(world.cloud.routes, "observe", and_then_it_is_taken):
        removed = await remove_ours(world, world.store)  # type: ignore[arg-type]
    assert removed.failed == ()
    assert world.routes == {key(1): OTHERS}
    verb, outcome = world.story()[-1]
    assert verb == "delete"
    assert outcome.startswith("superseded: ")
    assert "leads to nic-of-leaf-b, another router of the site" in outcome
    assert world.store.journal.owned_keys("aws", "routes") == set()
    for entry in world.store.journal.entries("aws", "routes"):
        await refused(world, entry.number)
    assert "it changed nothing" in await refused(world, world.number("delete"))


@pytest.mark.parametrize(("failures", "left"), [(2, False), (3, True)])
async def test_down_tries_again_what_fails_for_the_moment(
    world: CloudWorld, failures: int, left: bool
) -> None:
    """No later pass will remove it; after three attempts it is named."""
    really, tries = world.cloud.routes.apply, 0

    async def not_yet(changes: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries <= failures:
            return {change.key: TransientError("the API is busy") for change in changes}
        return await really(changes)

    with mock.patch.object(world.cloud.routes, "apply", not_yet):
        removed = await remove_ours(world, world.store)  # type: ignore[arg-type]
    assert (world.routes == {}) is not left
    assert [text for text in removed.failed if "the API is busy" in text] == list(removed.failed)
    assert len(removed.failed) == left


async def test_down_leaves_what_others_have_made_since(world: CloudWorld) -> None:
    world.place(1, OTHERS)
    world.place(3, OURS)  # leads to us, and no entry says that we made it
    await remove_ours(world, world.store)  # type: ignore[arg-type]
    assert world.routes == {key(1): OTHERS, key(3): OURS}


async def test_down_names_what_it_cannot_read(world: CloudWorld) -> None:
    world.store._connection.execute("UPDATE journal SET before = 'no json' WHERE tbl = 'routes'")
    removed = await remove_ours(world, world.store)  # type: ignore[arg-type]
    assert [text for text in removed.failed if "original value is unreadable" in text]
    assert world.routes == {key(1): OURS}


async def test_down_goes_on_though_the_journal_of_one_table_cannot_be_read(world: CloudWorld) -> None:
    real = world.store.journal.owned

    def owned(scope: str, table: str) -> Any:
        if table == "routes":
            raise StoreError("the disk failed to read")
        return real(scope, table)

    with mock.patch.object(world.store.journal, "owned", owned):
        removed = await remove_ours(world, world.store)  # type: ignore[arg-type]
    assert removed.failed == ("routes/aws: the disk failed to read",)
    assert (world.routes, dict(world.switches)) == ({key(1): OURS}, {NIC: OFF})
