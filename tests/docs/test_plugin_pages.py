"""The figures on the pages about plugins are those of the code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest
from tests.architecture import tree

from routerd.clouds import bindings, checkup
from routerd.plugins import join_methods
from routerd.plugins.measure import grades
from routerd.plugins.scaffold import FAMILIES
from routerd.process import log_budget, single_run, supervisor, watchdog
from routerd.reconcile import bound_table, guard, loop, order, retry
from routerd.reconcile import calls as lane_calls
from routerd.report import live
from routerd.runtime import control_routes, device_keys, single_runs, starter
from routerd.spi import SubsystemTable
from routerd.testing import awaits
from routerd.testing.contracts import provider

PLACE = tree.ROOT / "docs" / "plugins"
GENERAL = PLACE / "README.md"
STREAM_CEILING = supervisor.Supervisor.__init__.__kwdefaults__["ceiling"]
TABLE = attrs.fields(bound_table.Binding).deadline.default
SUBSYSTEM = attrs.fields(SubsystemTable).deadline.default

# The second column of each row of a table of calls, by page and the code in the first column.
SECONDS: Mapping[str, Mapping[str, float]] = {
    "README.md": {
        "`start`": starter.START_SECONDS,
        "`observe`, `apply`": TABLE,
        "the handler of a `ControlRoute`": control_routes.DEADLINE,
        "`aclose`": starter.CLOSE_SECONDS,
    },
    "transport.md": {
        "`tunnels.observe`, `tunnels.apply`": TABLE,
        "`states()`": live.STATES_SECONDS,
        "`peers.observe`, `peers.apply`": TABLE,
        "`peer_states()`": live.STATES_SECONDS,
        "`public_key(file)`": device_keys._READ_SECONDS,
    },
    "routing.md": {
        "`advertisements.observe`, `advertisements.apply`": TABLE,
        "`states()`": live.STATES_SECONDS,
        "`speakers`, `import_policies`, `sessions`": TABLE,
    },
    "enrollment.md": {
        "`start()`": join_methods.START_DEADLINE,
        "`signer(signing)`": join_methods.DEADLINE,
        "`sign(signing)`": join_methods.DEADLINE,
        "`verify(submission)`": join_methods.DEADLINE,
        "`aclose()`": join_methods.CLOSE_DEADLINE,
    },
    "fabric.md": {
        "`start()`, then `instance()`": starter.START_SECONDS,
        "`forwarding.observe`, `forwarding.apply`": bindings.FABRIC_DEADLINE,
        "`routes.observe`, `routes.apply`": bindings.FABRIC_DEADLINE,
        "`diagnose()`": checkup._DIAGNOSIS_SECONDS,
        "`start`, `instance`, `observe` of `routerd doctor cloud`": checkup.SECONDS,
    },
    "subsystem.md": {
        "`start()`": starter.START_SECONDS,
        "`states()`": live.STATES_SECONDS,
    },
}
WITHOUT = "none"

SENTENCES = {
    "README.md": (
        f"otherwise the resync after {loop.RESYNC:g} s",
        f"equal {retry.STEADY} times in a row without lasting",
        f"above {watchdog.BLOCKED:g} s the log names the plugin",
        f"ignores its cancellation for another {guard.GRACE:g} s",
        f"After {lane_calls.PATIENCE:g} s the tables of the other plugins go on without it",
        f"retried after 1, 2, 4 ... {starter.RETRY_CEILING:g} s; the status says why",
        f"retried after 1, 2, 4 ... {retry.CEILING:g} s. After",
        f"tries again every {retry.PERMANENT:g} s",
        f"the process has {watchdog.END_SECONDS:g} s",
        f"A plugin that blocks for {single_run.LIMIT_SECONDS:g} s, in a hook too, ends the command",
        f"wait at most {single_runs.START_SECONDS:g} s for all providers to start",
        f"may log {log_budget.BURST} lines at once and {log_budget.RATE:g} a second",
        f"cuts a fact after {log_budget.LONGEST} characters",
        f"at the end it has {supervisor.Supervisor.aclose.__defaults__[0]:g} s",  # type: ignore[index]
        ", ".join(f"`{rank}`" for rank in order.RANKS),
    ),
    "routing.md": (f"after 1, 2, 4 ... {STREAM_CEILING:g} s when the stream has failed",),
    "subsystem.md": (
        f"`SubsystemTable.deadline`, {attrs.fields(SubsystemTable).deadline.default:g} by default",
    ),
    "enrollment.md": (f"after {join_methods.MOST_DEAF} of these routerd asks the method no more",),
}


def calls(page: Path) -> dict[str, str]:
    """Return the seconds of each call in the tables of a page that have such a column."""
    found: dict[str, str] = {}
    inside = False
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif cells[:2] == ["Call", "Seconds"]:
            inside = True
        elif inside and not cells[0].startswith("---"):
            found[cells[0]] = cells[1]
    return found


@pytest.mark.parametrize("name", SECONDS)
def test_each_deadline_is_that_of_the_code(name: str) -> None:
    stated = calls(PLACE / name)
    figures = {call: f"{seconds:g}" for call, seconds in SECONDS[name].items()}
    assert {
        call: seconds
        for call, seconds in stated.items()
        if seconds != WITHOUT and not seconds.startswith("`")
    } == figures
    assert stated.keys() > figures.keys()


@pytest.mark.parametrize("name", SENTENCES)
def test_each_figure_in_a_sentence_is_that_of_the_code(name: str) -> None:
    text = " ".join((PLACE / name).read_text().split())
    assert [sentence for sentence in SENTENCES[name] if sentence not in text] == []


def test_the_grades_are_those_of_the_command() -> None:
    part = GENERAL.read_text().partition("\n## Grades\n")[2]
    found: dict[str, list[str]] = {}
    grade = ""
    for line in part.splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 3 and cells[0] != "Grade" and "---" not in cells[0]:
            grade = cells[0] or grade
            found.setdefault(grade, []).append(cells[1])
    assert found == {grade: list(groups) for grade, groups in grades.GRADES.items()}
    assert f"by default `{grades.DEFAULT}`" in part
    assert f"call at {awaits.MOST} places at most, a start at {provider.MOST_STARTS}, spread" in part


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_a_page_that_says_the_same_things(family: str) -> None:
    page = PLACE / f"{family}.md"
    assert page.name in SECONDS
    assert re.findall(r"^## (.*)$", page.read_text(), re.MULTILINE) == ["Calls", "Errors", "Testing"]
    assert f"({page.name})" in GENERAL.read_text()
    assert f"plugins/{page.name}" in (tree.ROOT / "docs" / "writing-a-plugin.md").read_text()
