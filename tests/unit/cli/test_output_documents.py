"""The documents of `-o json` and `-o yaml`: one schema, held by every command that shows something."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, get_args

import attrs
import click
import pytest
import yaml
from tests.unit.cli.command_line import routerd, validated
from tests.unit.cli.leaf_world import EXAMPLES
from tests.unit.cli.report_samples import filled
from tests.unit.control.admin_world import MemoryView, claim_document, entry
from tests.unit.runtime.action_world import CloudWorld

from routerd.cli.actions.words import STATES
from routerd.cli.main import routerd as program
from routerd.control.admin import admin_app, serve_admin
from routerd.control.wire import from_document, to_document
from routerd.model.report.actions import Outcome
from routerd.model.report.claims import ClaimReport
from routerd.model.report.plan import ActionState, Plan, PlannedChange
from routerd.model.report.resources import ResourceList, ResourceReport
from routerd.model.report.status import Status
from tests import report_schema

REPORTS = (*report_schema.KINDS, ClaimReport, ResourceReport)


def test_the_published_schema_is_that_of_the_values() -> None:
    assert report_schema.FILE.read_text() == report_schema.text(), "run python -m tests.report_schema"


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("kind", REPORTS)
def test_a_report_with_every_field_fits_the_schema_and_is_read_back(kind: type[Any], family: int) -> None:
    report = filled(kind, family=family)
    document = json.loads(json.dumps(to_document(report)))
    validated(document)
    assert from_document(document, kind) == report


def test_a_report_may_hold_ipv6() -> None:
    text = json.dumps(to_document(filled(Status, family=6)))
    assert '"2001:db8::1"' in text
    assert '"2001:db8::/64"' in text


@pytest.mark.parametrize("kind", REPORTS)
def test_the_schema_knows_no_other_key(kind: type[Any]) -> None:
    document = to_document(filled(kind))
    with pytest.raises(AssertionError):
        validated({**document, "surprise": 1})


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {**to_document(Plan()), "apiVersion": "report.routerd.net/v2"},
        {**to_document(Plan()), "kind": "Status"},
        {**to_document(Plan()), "changes": [{"table": "routes"}]},
        {**to_document(Plan()), "changes": 1},
    ],
)
def test_a_document_of_another_shape_is_refused(document: object) -> None:
    with pytest.raises(ValueError, match=r"document|expected"):
        from_document(document, Plan)


def test_what_a_newer_daemon_adds_is_passed_over() -> None:
    assert from_document({**to_document(Plan()), "more": 1}, Plan) == Plan()


class FullView(MemoryView):
    """A router that has everything."""

    async def status(self) -> Status:
        return filled(Status)

    async def resources(self) -> ResourceList:
        return filled(ResourceList)

    async def plan(self, file: Path | None = None) -> Plan:
        return attrs.evolve(filled(Plan), changes=(filled(PlannedChange),))


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Path]:
    """Yield the run directory of a daemon that has everything, and one change of a cloud that was made."""
    world = CloudWorld(tmp_path, "approve")
    world.remote = {1, 2}
    await world.passes()
    first, _ = await world.open()
    await world.approve(first.id)
    await world.passes()
    (tmp_path / "waiting").write_text((await world.open())[0].id)
    view = FullView(listed=[claim_document(), claim_document(phase="Pending")], entries=[entry(1)])
    runner = await serve_admin(admin_app(view, view, {}, actions=world.actions), tmp_path / "routerd.sock")
    yield tmp_path
    await runner.cleanup()
    world.store.close()


SHOWN: dict[str, tuple[str, int]] = {
    "status": ("Status", 0),
    "peers": ("PeerList", 0),
    "routes": ("RouteList", 0),
    "routes --rejected": ("RejectedRouteList", 0),
    "explain 10.0.0.1": ("Explanation", 0),
    "get all": ("ResourceList", 0),
    "get text": ("ResourceList", 0),
    "get text/text": ("text", 0),
    "plan": ("Plan", 2),
    "plugins": ("PluginList", 0),
    "plugins --all": ("PluginList", 0),
    f"validate --config {EXAMPLES}/leaf.yaml": ("Validation", 0),
    "validate --config /nowhere.yaml": ("Validation", 2),
    "actions list": ("ActionList", 0),
    "actions show 1": ("ActionDetails", 0),
    "actions show WAITING": ("ActionDetails", 0),
    "actions approve WAITING": ("ActionApproval", 0),
    "actions undo 1": ("ActionUndo", 0),
    "enroll list": ("ClaimList", 0),
    "enroll show leaf-a": ("SAMEnrollmentClaim", 0),
    "enroll log": ("DecisionList", 0),
}
"""Commands with the kind of their document and their exit status."""

ELSEWHERE = {
    "doctor cloud": "tests/unit/clouds/test_checkup.py",
    "plugins check": "tests/unit/cli/test_plugins_check_command.py",
    "enroll sign": "tests/unit/cli/test_enroll_submit.py",
    "enroll submit": "tests/unit/cli/test_enroll_submit.py",
}
"""Commands whose documents need another world; they are validated where that is."""


@pytest.mark.parametrize("form", ["--json", "-o json", "-o yaml"])
@pytest.mark.parametrize("words", SHOWN)
async def test_a_command_prints_what_the_schema_says(place: Path, words: str, form: str) -> None:
    kind, status = SHOWN[words]
    command = words.replace("WAITING", (place / "waiting").read_text()).split()
    done = await asyncio.to_thread(routerd, *command, *form.split(), "--run-dir", place, "--state-dir", place)
    assert done.status == status, done.err
    load: Callable[[str], Any] = yaml.safe_load if form == "-o yaml" else json.loads
    document = load(done.out)
    assert document["kind"] == kind
    validated(document)


def commands(group: click.Group, path: tuple[str, ...] = ()) -> dict[str, click.Command]:
    context = click.Context(group)
    found: dict[str, click.Command] = {}
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found |= commands(command, (*path, name))
        else:
            found[" ".join((*path, name))] = command
    return found


def test_every_command_with_the_option_is_validated() -> None:
    having = {
        name
        for name, command in commands(program).items()
        if any("-o" in each.opts and "table" in getattr(each.type, "choices", ()) for each in command.params)
    }
    tried = {name for name in having if any(each.startswith(name) for each in SHOWN)}
    assert having == tried | set(ELSEWHERE)
    assert len(having) >= 17


def test_every_state_of_a_change_has_its_words() -> None:
    assert set(STATES) == {*get_args(ActionState), *get_args(Outcome)}


def test_two_formats_at_once_are_refused() -> None:
    assert routerd("status", "--json", "-o", "yaml").status == 2
    assert routerd("status", "--watch", "-o", "json").status == 2
