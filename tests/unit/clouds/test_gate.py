"""Nothing is changed in a cloud that its profile's mode, or somebody's approval, does not let through."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from tests.unit.runtime.action_world import NIC, OFF, ON, OTHERS, OURS, CloudWorld, key

from routerd import config
from routerd.clouds.gate import Mode, digest_of, id_of
from routerd.clouds.words import open_ends
from routerd.errors import ActionRefused, PermanentError, StoreError, TransientError
from routerd.model.change import Change
from routerd.model.report.actions import ActionApproval, ActionText
from routerd.reconcile.loop import Loop
from routerd.report.plan import plan_of


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Any]:
    made: list[CloudWorld] = []

    def world(mode: Mode, *remote: int, **more: Any) -> CloudWorld:
        found = CloudWorld(tmp_path, mode, **more)
        found.remote = set(remote)
        found.cloud.forwarding.content[NIC] = ON
        made.append(found)
        return found

    yield world
    for each in made:
        each.store.close()


async def test_mode_auto_makes_everything(make: Any) -> None:
    world = make("auto", 1)
    await world.passes()
    assert world.routes == {key(1): OURS}
    assert await world.open() == []


async def test_mode_plan_makes_nothing_and_cannot_be_talked_into_it(make: Any) -> None:
    world = make("plan", 1)
    world.cloud.forwarding.content[NIC] = OFF
    await world.passes()
    (route,), (switch,) = await world.open(), await world.open("forwarding")
    assert (route.state, switch.state) == ("planned", "planned")
    assert switch.text == "turn forwarding on for nic-1 (off before)"
    with pytest.raises(ActionRefused, match="profile aws is in mode plan; nothing was approved"):
        await world.approve(route.id)
    assert await world.approve(every=True) == ActionApproval()
    await world.looks()
    assert (world.routes, dict(world.switches), world.entries()) == ({}, {NIC: OFF}, ())


async def test_mode_approve_makes_only_what_was_approved(make: Any) -> None:
    world = make("approve", 1, 2)
    await world.passes()
    assert world.routes == {}
    first, second = await world.open()
    assert first.state == "waiting"
    assert first.text == "add route 10.99.0.1/32 to nic-1 in table table-1"
    answer = await world.approve(first.id)
    assert answer.approved == (ActionText(id=first.id, text=first.text),)
    await world.passes()
    assert world.routes == {key(1): OURS}
    assert [each.id for each in await world.open()] == [second.id]


async def test_an_approval_reaches_a_table_that_would_not_be_read_for_minutes(make: Any) -> None:
    """The wake-up is part of it: nobody waits for the next resync."""
    world = make("approve", 1)
    await world.passes()
    looked = world.cloud.routes.observations
    await world.passes()
    assert world.cloud.routes.observations == looked, "it is not read at each pass"
    await world.approve(every=True)
    assert world.loop._lanes["fabric/aws"].woken.is_set()
    await world.passes()
    assert world.routes == {key(1): OURS}


async def test_an_approval_is_used_up_when_the_change_was_made(make: Any) -> None:
    world = make("approve", 1)
    await world.passes()
    (action,) = await world.open()
    await world.approve(action.id)
    await world.passes()
    assert world.store.journal.approvals() == ()
    world.place(1, None)  # somebody removes it by hand
    await world.looks()
    assert world.routes == {}
    assert [(each.id, each.state) for each in await world.open()] == [(action.id, "waiting")]


async def test_an_approval_never_covers_another_change_than_the_one_shown(make: Any) -> None:
    world = make("approve", 1)
    await world.passes()
    (shown,) = await world.open()
    await world.approve(shown.id)
    world.place(1, OTHERS)  # meanwhile a route of another router is there
    await world.passes()
    assert world.routes == {key(1): OTHERS}
    (now,) = await world.open()
    assert now.state == "waiting"
    assert now.id != shown.id
    assert now.text == "turn route 10.99.0.1/32 in table table-1 from nic-of-leaf-b to nic-1"
    assert world.store.journal.approvals() == (), "what was approved is not wanted any more"


async def test_an_approval_survives_a_restart(make: Any) -> None:
    world = make("approve", 1)
    await world.passes()
    await world.approve(every=True)
    world.restart()
    await world.passes()
    assert world.routes == {key(1): OURS}


async def test_a_failure_leaves_the_approval(make: Any) -> None:
    world = make("approve", 1)
    await world.passes()
    (action,) = await world.open()
    world.cloud.routes.refusals[key(1)] = TransientError("503")
    await world.approve(action.id)
    await world.passes()
    (failing,) = await world.open()
    assert (failing.id, failing.state, failing.trouble) == (action.id, "approved", "503")
    assert (await world.approve(action.id)).approved == ()
    world.cloud.routes.refusals.clear()
    world.restart()
    await world.passes()
    assert world.routes == {key(1): OURS}


async def test_an_approval_is_void_when_its_change_is_wanted_no_more(make: Any) -> None:
    world = make("approve", 1)
    await world.passes()
    await world.approve(every=True)
    world.remote.clear()
    await world.looks()
    world.remote.add(1)
    await world.looks()
    assert world.routes == {}
    assert [each.state for each in await world.open()] == ["waiting"]


async def test_only_a_complete_and_readable_look_can_tell_that(make: Any) -> None:
    world = make("approve", 1)
    await world.passes()
    await world.approve(every=True)
    world.restart()
    world.remote.clear()
    world.complete = False  # a router that has just started has heard nobody yet
    await world.looks()
    assert len(world.store.journal.approvals()) == 1
    world.complete = True
    with mock.patch.object(world.cloud.routes, "observe", side_effect=PermanentError("403")):
        await world.looks()
    assert len(world.store.journal.approvals()) == 1
    world.remote.add(1)
    await world.looks()
    assert world.routes == {key(1): OURS}


async def test_an_approval_of_a_removal_outlasts_a_hold_down_that_starts_again(make: Any) -> None:
    world = make("auto", 1, hold_down=60.0)
    await world.passes()
    world.restart("approve")
    world.remote.clear()
    await world.passes()
    await world.passes(61.0)
    (removal,) = await world.open()
    assert removal.text == "remove route 10.99.0.1/32 to nic-1 from table table-1"
    await world.approve(removal.id)
    world.restart()
    await world.passes()
    assert world.routes == {key(1): OURS}
    await world.passes(61.0)
    assert world.routes == {}


async def test_a_void_approval_is_void_though_the_disk_is_full(make: Any) -> None:
    world = make("approve", 1)
    await world.passes()
    await world.approve(every=True)
    world.remote.clear()
    with mock.patch.object(world.store.journal, "drop_approvals", side_effect=StoreError("the disk is full")):
        await world.looks()
        world.remote.add(1)
        await world.looks()
        assert world.routes == {}
        assert len(world.store.journal.approvals()) == 1
    await world.looks()
    assert world.store.journal.approvals() == ()
    await world.approve(every=True)
    await world.passes()
    assert world.routes == {key(1): OURS}, "one that is given anew counts"


async def test_an_approval_that_cannot_be_written_down_is_none(make: Any) -> None:
    world = make("approve", 1)
    await world.passes()
    with (
        mock.patch.object(world.store.journal, "decide", side_effect=StoreError("the disk is full")),
        pytest.raises(StoreError),
    ):
        await world.approve(every=True)
    await world.looks()
    assert world.routes == {}


async def test_nothing_is_approved_when_one_of_several_is_not_there(make: Any) -> None:
    world = make("approve", 1)
    await world.passes()
    (action,) = await world.open()
    with pytest.raises(ActionRefused, match=r"change zzzzzzzz: not waiting here.*nothing was approved"):
        await world.approve(action.id, "zzzzzzzz")
    with pytest.raises(ActionRefused, match="7: an entry of the journal; it can be undone"):
        await world.approve("7")
    await world.looks()
    assert world.routes == {}
    assert world.store.journal.approvals() == ()


async def test_all_is_what_waits_now_of_the_profile_that_is_named(make: Any) -> None:
    world = make("approve", 1, 2)
    await world.passes()
    assert (await world.approve(every=True, profile="other")).approved == ()
    assert len((await world.approve(every=True, profile="aws")).approved) == 2
    world.remote.add(3)
    await world.passes()
    assert sorted(world.routes) == [key(1), key(2)], "what came later was not among all"


async def test_two_approvals_are_one(make: Any) -> None:
    world = make("approve", 1)
    await world.passes()
    (action,) = await world.open()
    await world.approve(action.id, action.id.upper())
    await world.approve(action.id)
    assert len(world.store.journal.approvals()) == 1
    await world.passes()
    assert world.story() == [("create", "done")]
    with pytest.raises(ActionRefused, match="it was made, or another change replaced it"):
        await world.approve(action.id)


async def test_an_approval_while_the_lane_runs_is_acted_on_by_the_next_pass(make: Any) -> None:
    world = make("approve", 1)
    await world.passes()
    (action,) = await world.open()
    real = world.cloud.routes.observe

    async def observe() -> Any:
        found = await real()
        await world.approve(action.id)
        return found

    world.loop.retry_now()
    with mock.patch.object(world.cloud.routes, "observe", observe):
        await world.loop.run_once("fabric/aws")
    assert world.loop._lanes["fabric/aws"].woken.is_set()
    await world.passes()
    assert world.routes == {key(1): OURS}


async def test_the_wall_clock_plays_no_part(make: Any) -> None:
    world = make("approve", 1)
    await world.passes()
    await world.approve(every=True)
    world.clock.jump(timedelta(days=-4000))
    await world.passes()
    assert world.routes == {key(1): OURS}
    world.clock.jump(timedelta(days=8000))
    world.remote.add(2)
    await world.passes()
    await world.approve(every=True)
    await world.passes()
    made: Any = (await world.actions.listing(profile=None, limit=20)).journal
    assert [each.number for each in made] == [1, 2], "in the order in which they were made"


def _changes() -> Iterable[Change[Any, Any]]:
    yield Change(key=key(1), before=None, after=OURS)
    yield Change(key=key(2), before=None, after=OURS)
    yield Change(key=key(1), before=OTHERS, after=OURS)
    yield Change(key=key(1), before=OURS, after=OTHERS)
    yield Change(key=key(1), before=OURS, after=None)


def test_an_id_tells_changes_apart_and_is_always_the_same() -> None:
    ids = [id_of(digest_of(scope, "routes", change)) for scope in ("aws", "oci") for change in _changes()]
    assert len(set(ids)) == len(ids)
    assert all(len(each) == 8 and each.isalpha() for each in ids)
    assert ids[0] == id_of(digest_of("aws", "routes", next(iter(_changes()))))


FILE = """\
apiVersion: routerd.net/v1alpha1
kind: Router
metadata: {name: here}
spec:
  resources:
    - apiVersion: hybrid.routerd.net/v1alpha1
      kind: CloudProviderProfile
      metadata: {name: aws}
      spec: {provider: fake, mode: %s}
"""


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        (None, "held after an undo: routerd actions approve"),
        ("auto", "held after an undo: routerd actions approve"),
        ("plan", "planned and not made (mode plan)"),
    ],
)
async def test_a_plan_says_what_becomes_of_a_change_by_the_file_that_is_asked_about(
    make: Any, candidate: str | None, words: str
) -> None:
    world = make("auto", 1)
    await world.passes()
    await world.actions.undo(world.number("create"))
    dry = Loop(world.loop.bindings(), derive=world._derive, clock=world.clock, log=world.log)
    await dry.run_once("fabric/aws", dry_run=True)
    intent = config.load_text(FILE % candidate, file="x").intent if candidate else None
    (change,) = plan_of(world, dry, intent).changes
    assert change.action.text.startswith(words)
    assert world.routes == {}


async def test_a_dry_run_voids_no_approval(make: Any) -> None:
    """It may be of a file that wants something else."""
    world = make("approve", 1)
    await world.passes()
    await world.approve(every=True)
    world.remote.clear()
    dry = Loop(world.loop.bindings(), derive=world._derive, clock=world.clock, log=world.log)
    await dry.run_once("fabric/aws", dry_run=True)
    world.remote.add(1)
    await world.passes()
    assert world.routes == {key(1): OURS}


async def test_why_a_router_is_not_ready_names_the_mode_and_counts(make: Any) -> None:
    world = make("approve", 1, 2)
    await world.passes()
    gate, report = world.gates()["routes/aws"], world.loop.reports()["routes/aws"]
    assert (
        open_ends(gate, report.planned)
        == "2 changes wait for approval (mode approve, see routerd actions list)"
    )
    await world.approve((await world.open())[0].id)
    assert open_ends(gate, report.planned) == (
        "1 change waits for approval (mode approve, see routerd actions list), "
        "1 change is approved and not made yet (mode approve)"
    )
    world.restart("plan")
    await world.passes()
    gate, report = world.gates()["routes/aws"], world.loop.reports()["routes/aws"]
    assert open_ends(gate, report.planned) == "2 changes are planned and not made (mode plan)"
