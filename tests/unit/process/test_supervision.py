"""Tasks, the log and the notification: small parts that must not fail loudly."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from routerd.process.log import Log
from routerd.process.supervisor import Supervisor
from routerd.process.systemd import notify
from routerd.testing.clock import FakeClock
from routerd.testing.context import RecordingLogger


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
