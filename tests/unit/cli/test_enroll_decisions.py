"""The commands by which an administrator looks at claims and decides on them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import attrs
import pytest
from tests.unit.cli.command_line import Done, routerd
from tests.unit.control.admin_world import MemoryView, audit_entry, claim_document, entry, serving_admin

from routerd.cli.enroll.decisions.log import Unseen, line


@pytest.fixture
def view() -> MemoryView:
    return MemoryView(
        listed=[
            claim_document("leaf-a"),
            claim_document(
                "leaf-b",
                "Pending",
                reason="approval-pending",
                message="waits",
                admittedAt=None,
                expiresAt=None,
            ),
        ],
        entries=[
            entry(1, "leaf-b", "pending", reason="approval-pending"),
            entry(2, decision="refused", reason="join-hmac-mismatch", message="it does not match", count=7),
            entry(3, decision="approved", source=""),
        ],
    )


async def ask(view: MemoryView, tmp_path: Path, *words: object) -> Done:
    async with serving_admin(view, tmp_path):
        return await asyncio.to_thread(routerd, "enroll", *words, "--run-dir", tmp_path)


async def test_the_list_shows_every_claim_and_its_state(view: MemoryView, tmp_path: Path) -> None:
    done = await ask(view, tmp_path, "list")
    assert done.status == 0
    head, first, second = done.out.splitlines()
    assert head.split()[:2] == ["NAME", "STATE"]
    assert first.split() == [
        *("leaf-a", "Approved", "leaf-a", "p", "198.51.100.31"),
        *("2026-06-28T12:00:00Z", "2026-06-29T12:00:00Z", "-"),
    ]
    assert "approval-pending: waits" in second


async def test_the_list_can_be_cut_to_one_state(view: MemoryView, tmp_path: Path) -> None:
    done = await ask(view, tmp_path, "list", "--state", "pending", "--json")
    assert json.loads(done.out)["items"] == [view.listed[1]]
    assert (await ask(view, tmp_path, "list", "--state", "Revoked")).out == "no claim is Revoked\n"
    assert (await ask(MemoryView(), tmp_path, "list")).out == "no claims\n"


async def test_a_claim_is_shown_with_what_was_decided_on_it(view: MemoryView, tmp_path: Path) -> None:
    done = await ask(view, tmp_path, "show", "SAMEnrollmentClaim/leaf-a")
    assert done.status == 0
    assert done.out.startswith("leaf-a  Approved\n")
    for words in ("10.77.60.31/32", "key-of-leaf", "came from", "7 times"):
        assert words in done.out
    assert "leaf-b" not in done.out
    assert json.loads((await ask(view, tmp_path, "show", "leaf-a", "--json")).out) == view.listed[0]


async def test_a_status_that_says_nothing_is_shown_all_the_same(view: MemoryView, tmp_path: Path) -> None:
    view.listed = [{"metadata": {"name": "old"}, "spec": {}, "status": {"phase": "Expired", "leafID": "old"}}]
    assert "old" in (await ask(view, tmp_path, "list")).out
    assert (await ask(view, tmp_path, "show", "old")).out == "old  Expired\n  leaf                old\n"


async def test_a_change_that_waits_is_shown_below(view: MemoryView, tmp_path: Path) -> None:
    view.listed.append(claim_document("leaf-a", "Pending"))
    done = await ask(view, tmp_path, "show", "leaf-a")
    assert "\nA change of it that waits\nleaf-a  Pending\n" in done.out


async def test_what_a_decision_came_to_is_said_in_words(view: MemoryView, tmp_path: Path) -> None:
    view.words = "its leaf is admitted as soon as it has signed anew"
    done = await ask(view, tmp_path, "approve", "leaf-b", "--reason", "known")
    assert done.out == f"leaf-b: Approved: {view.words}\n"


@pytest.mark.parametrize(
    ("verb", "phase"), [("approve", "Approved"), ("reject", "Rejected"), ("revoke", "Revoked")]
)
async def test_a_decision_is_carried_out(view: MemoryView, tmp_path: Path, verb: str, phase: str) -> None:
    done = await ask(view, tmp_path, verb, "leaf-b", "--reason", "known to us")
    assert (done.status, done.out) == (0, f"leaf-b: {phase}\n")
    assert view.decided == [("leaf-b", verb, "known to us")]


async def test_a_refused_decision_is_one_line(view: MemoryView, tmp_path: Path) -> None:
    done = await ask(view, tmp_path, "approve", "nobody")
    assert (done.status, done.err) == (1, "routerd: no claim nobody was admitted here\n")


def test_without_a_daemon_it_is_said_where_one_was_looked_for(tmp_path: Path) -> None:
    done = routerd("enroll", "list", "--run-dir", tmp_path)
    assert done.status == 1
    assert f"{tmp_path}/routerd.sock: no daemon; the socket does not exist" in done.err


async def test_the_log_says_who_from_where_what_and_why(view: MemoryView, tmp_path: Path) -> None:
    done = await ask(view, tmp_path, "log")
    assert done.out.splitlines() == [
        "2026-06-28T12:00:01Z  pending      leaf-b        from 198.51.100.31  approval-pending",
        (
            "2026-06-28T12:00:02Z  refused      leaf-a        from 198.51.100.31  7 times  "
            "join-hmac-mismatch: it does not match"
        ),
        "2026-06-28T12:00:03Z  approved     leaf-a        from admin",
    ]
    assert (await ask(MemoryView(), tmp_path, "log")).out == "no decision yet\n"


async def test_the_log_can_be_cut(view: MemoryView, tmp_path: Path) -> None:
    assert (
        json.loads((await ask(view, tmp_path, "log", "-n", "1", "--json")).out)["items"] == view.entries[2:]
    )
    assert json.loads((await ask(view, tmp_path, "log", "--claim", "leaf-b", "--json")).out)["items"] == [
        view.entries[0]
    ]


def test_a_leaf_under_another_name_is_named_in_the_log() -> None:
    assert "  claim-1 (leaf leaf-a)  " in line(audit_entry(entry(1, "claim-1", leafID="leaf-a")))
    assert "  -             from " in line(audit_entry(entry(1, "", leafID="")))


def test_a_follower_sees_each_entry_once_and_again_when_it_repeats() -> None:
    unseen = Unseen()
    one, two = audit_entry(entry(1)), audit_entry(entry(2))
    assert list(unseen.among([one, two])) == [one, two]
    assert list(unseen.among([one, two])) == []
    again, three = attrs.evolve(two, count=2), audit_entry(entry(3))
    assert list(unseen.among([again, three])) == [again, three]


def test_a_follower_who_wanted_only_the_latest_gets_no_older_ones_later() -> None:
    unseen = Unseen()
    third, fourth, fifth, sixth = (audit_entry(entry(number)) for number in (3, 4, 5, 6))
    assert list(unseen.among([fifth])) == [fifth]
    assert list(unseen.among([third, fourth, fifth, sixth])) == [sixth]


async def test_metrics_are_printed_as_they_come(view: MemoryView, tmp_path: Path) -> None:
    async with serving_admin(view, tmp_path):
        done = await asyncio.to_thread(routerd, "metrics", "--run-dir", tmp_path)
    assert (done.status, done.out) == (0, "# HELP routerd_ready x\n")
