"""Tasks, the journal, the log and the notification: small parts that must not fail loudly."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from routerd.clouds.journal import JournaledTable
from routerd.errors import StoreError, TransientError
from routerd.model.change import Change
from routerd.process.log import Log
from routerd.process.supervisor import Supervisor
from routerd.process.systemd import notify
from routerd.testing.clock import FakeClock
from routerd.testing.context import RecordingLogger
from routerd.testing.tables import FakeTable


async def test_a_task_that_fails_is_made_again_with_growing_pauses() -> None:
    clock, log, starts = FakeClock(), RecordingLogger(), []
    supervisor = Supervisor(clock=clock, log=log)

    async def work() -> None:
        starts.append(clock.monotonic())
        raise OSError("no")

    supervisor.keep("task", work)
    await clock.advance(8.0)
    assert starts == [0.0, 1.0, 3.0, 7.0]
    assert supervisor.failures == {"task": "OSError: no"}
    await supervisor.aclose()


async def test_a_failing_task_stops_no_other() -> None:
    clock, log = FakeClock(), RecordingLogger()
    supervisor = Supervisor(clock=clock, log=log)
    done = asyncio.Event()

    async def bad() -> None:
        raise ValueError("x")

    async def good() -> None:
        done.set()
        await clock.sleep(1000)

    supervisor.spawn("bad", bad())
    supervisor.spawn("good", good())
    await clock.settle()
    assert done.is_set()
    assert supervisor.running("good")
    assert not supervisor.running("bad")
    assert log.events("error") == ["task.failed"]
    await supervisor.aclose()


async def test_a_task_that_does_not_end_is_named_and_does_not_hold_up_the_end() -> None:
    log = RecordingLogger()
    supervisor = Supervisor(clock=FakeClock(), log=log)
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    supervisor.spawn("stubborn", stubborn())
    await asyncio.sleep(0)
    await supervisor.aclose(deadline=0.05)
    assert "task=stubborn" in log.text()
    release.set()
    await asyncio.sleep(0)


class Journal:
    """Remembers in which order things happened."""

    def __init__(self, story: list[str], *, full: bool = False) -> None:
        self.story = story
        self.full = full

    def begin(self, scope: str, table: str, changes: Iterable[Change[Any, Any]]) -> tuple[int, ...]:
        if self.full:
            raise StoreError("the disk is full")
        first = len(self.story)
        self.story += [f"begin {change.key}" for change in changes]
        return tuple(range(first, len(self.story)))

    def begin_undo(self, scope: str, table: str, change: Change[Any, Any], *, undoes: int) -> int:
        (number,) = self.begin(scope, table, [change])
        return number

    def finish(self, outcomes: Mapping[int, str]) -> None:
        self.story += [f"finish {outcome}" for outcome in outcomes.values()]

    def owned_keys(self, scope: str, table: str) -> frozenset[str]:
        self.story.append("owned")
        return frozenset({"a"})


class Telling(FakeTable[str, int]):
    story: list[str]

    async def apply(self, changes: Any) -> Mapping[str, Any]:
        self.story.append("apply")
        return await super().apply(changes)


def telling(**options: Any) -> Telling:
    table = Telling(**options)
    table.story = []
    return table


async def test_a_change_is_written_down_before_it_is_made() -> None:
    table = telling(refusals={"b": TransientError("no")})
    journaled = JournaledTable(table, Journal(table.story), scope="aws", name="routes")
    changes = [Change(key=key, before=None, after=1) for key in ("a", "b")]
    assert set(await journaled.apply(changes)) == {"b"}
    assert table.story == ["begin a", "begin b", "apply", "finish done", "finish failed: no"]


async def test_the_journal_is_read_once_for_a_look_and_says_what_is_ours() -> None:
    table = telling(content={"a": 1, "b": 2})
    journaled = JournaledTable(table, Journal(table.story), scope="aws", name="routes")
    assert not journaled.permits(Change(key="a", before=1, after=None)), (
        "nothing is ours before the first look"
    )
    assert await journaled.observe() == {"a": 1, "b": 2}
    assert [key for key in table.content if journaled.permits(Change(key=key, before=1, after=None))] == ["a"]
    assert table.story == ["owned"]


async def test_what_cannot_be_written_down_is_not_made() -> None:
    table = telling()
    journaled = JournaledTable(table, Journal(table.story, full=True), scope="aws", name="routes")
    failures = await journaled.apply([Change(key="a", before=None, after=1)])
    assert "the disk is full" in str(failures["a"])
    assert (table.content, table.story) == ({}, [])


def logged(**options: Any) -> tuple[Log, io.StringIO]:
    stream = io.StringIO()
    return Log(stream=stream, now=lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), **options), stream


def test_a_line_for_people() -> None:
    log, stream = logged()
    log.bind(plugin="x").warning("route.lost", key="10.0.0.1/32", error='a "b" c', empty="")
    log.debug("unseen")
    assert stream.getvalue() == (
        '2026-01-02T03:04:05.000Z WARN  route.lost plugin=x key=10.0.0.1/32 error="a \\"b\\" c" empty=""\n'
    )


def test_a_line_for_programs_is_one_json_object_whatever_is_in_it() -> None:
    log, stream = logged(format="json")
    log.info("e", text="a\nb", number=1, path=Path("x"), trace=ValueError("v"))
    record = json.loads(stream.getvalue())
    assert (record["text"], record["number"], record["path"]) == ("a\nb", 1, "x")
    assert "ValueError: v" in record["trace"]


def test_a_closed_log_stops_nothing() -> None:
    log, stream = logged()
    stream.close()
    # The rule is that this does not raise.
    log.error("e")


def test_nobody_listening_is_no_error(tmp_path: Path) -> None:
    assert not notify("READY=1", {})
    assert not notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "gone")})


def test_the_service_manager_hears_it(tmp_path: Path) -> None:
    path = tmp_path / "n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(5)
        assert notify("READY=1", {"NOTIFY_SOCKET": str(path)})
        assert manager.recv(100) == b"READY=1"
