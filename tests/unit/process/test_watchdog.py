"""The thread beside the loop: it measures always, names who blocks, and ends a process that does not end."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import threading
import time

import pytest
from tests.support.waiting import until_async

from routerd.process.ending import run_to_end
from routerd.process.log import Log
from routerd.process.log_budget import BURST, RATE, BudgetedLog
from routerd.process.watchdog import Watchdog
from routerd.testing.context import RecordingLogger


async def test_the_lag_is_measured_always_and_small_lags_are_not_news() -> None:
    log = RecordingLogger()
    watchdog = Watchdog(log, interval=0.001)
    watchdog.start()
    await until_async(lambda: watchdog.lag.longest > 0)
    watchdog.stop()
    assert log.entries == []
    assert watchdog.lag.last <= watchdog.lag.longest


async def test_who_blocks_the_loop_is_named_with_the_frame_while_it_does() -> None:
    log, said = RecordingLogger(), threading.Event()

    class Telling(RecordingLogger):
        def warning(self, event: str, /, **facts: object) -> None:
            log.warning(event, **facts)
            said.set()

    watchdog = Watchdog(Telling(), interval=0.001, blocked=0.01)
    watchdog.plugins = {__name__.partition(".")[0]: "odd"}
    watchdog.start()
    # The loop runs this until the thread has spoken: no other order of events is possible.
    assert said.wait(60)
    await until_async(lambda: "loop.free" in log.events("warning"))
    watchdog.stop()
    first = log.entries[0]
    facts = dict(first.facts)
    assert (first.event, facts["plugin"]) == ("loop.blocked", "odd")
    assert "test_watchdog.py:" in str(facts["frame"])
    assert "in test_who_blocks_the_loop_is_named" in str(facts["frame"])
    assert watchdog.lag.blocked >= 1
    assert watchdog.notes()[0].startswith("plugin odd: blocked the event loop for ")


async def test_a_loop_that_waits_for_events_blocks_nothing() -> None:
    """A machine without a free processor makes every loop late; nobody in the process is to blame."""
    watchdog = Watchdog(RecordingLogger())
    watchdog.start()
    loop = asyncio.get_running_loop()
    seen = await loop.run_in_executor(None, lambda: _culprit_of_an_idle_loop(watchdog))
    watchdog.stop()
    assert seen is None


def _culprit_of_an_idle_loop(watchdog: Watchdog) -> object:
    end = time.monotonic() + 60
    while (found := watchdog._culprit()) is not None and time.monotonic() < end:
        time.sleep(0.001)
    return found


def test_a_task_that_calls_sys_exit_ends_neither_the_loop_nor_the_others() -> None:
    log = RecordingLogger()
    watchdog = Watchdog(log)
    watchdog.plugins = {__name__.partition(".")[0]: "odd"}
    done = []

    async def leaves() -> None:
        sys.exit(4)

    async def main() -> None:
        asyncio.get_running_loop().call_soon(sys.exit, 3)
        task = asyncio.ensure_future(leaves())
        await asyncio.wait({task})
        assert isinstance(task.exception(), SystemExit)
        await asyncio.sleep(0)
        done.append(True)

    run_to_end(main(), watchdog)
    assert done == [True]
    assert log.events("error") == ["task.exit"] * 2
    assert "plugin odd: called sys.exit(4) in a task of its own, at " in watchdog.notes()[-1]


def test_the_main_task_may_end_the_process() -> None:
    async def main() -> None:
        sys.exit(5)

    with pytest.raises(SystemExit) as caught:
        run_to_end(main(), Watchdog(RecordingLogger()))
    assert caught.value.code == 5


STUCK = """
import asyncio, sys, threading, time
from routerd.process.ending import run_to_end
from routerd.process.log import Log
from routerd.process.watchdog import Watchdog

async def main():
    watchdog.start()
    watchdog.expect_end(0.1)
    {what}

watchdog = Watchdog(Log(), interval=0.01)
run_to_end(main(), watchdog)
"""


@pytest.mark.parametrize(
    ("what", "named"),
    [
        (
            'threading.Thread(target=time.sleep, args=[1e6], name="odd thread").start()',
            "odd thread at ",
        ),
        ("asyncio.get_running_loop().run_in_executor(None, time.sleep, 1e6)", "asyncio_0 at"),
        ("time.sleep(1e6)", "MainThread at <string>:10 in main"),
        ("await asyncio.Event().wait()", "tasks=main"),
    ],
)
def test_a_process_that_does_not_end_is_ended_and_what_it_left_is_named(what: str, named: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STUCK.format(what=what)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "process.left" in done.stderr
    assert named in done.stderr


# --- the budget of a log -----------------------------------------------------------------------------


def test_a_flood_loses_lines_and_their_number_is_kept_and_said() -> None:
    stream, now = io.StringIO(), [0.0]
    log = BudgetedLog(Log(stream=stream).bind(plugin="odd"), now=lambda: now[0])
    for number in range(BURST + 500):
        log.debug("unseen", number=number)
        log.info("flood", number=number)
    lines = stream.getvalue().splitlines()
    assert len(lines) == BURST + 1
    assert "log.budget" in lines[-1]
    assert "plugin=odd" in lines[-1]
    assert log.dropped == 500
    now[0] = 1.0
    log.info("calm")
    lines = stream.getvalue().splitlines()
    assert "log.dropped" in lines[-2]
    assert "lines=500" in lines[-2]
    assert " calm " in lines[-1]
    for _ in range(int(RATE)):
        log.info("again")
    assert stream.getvalue().count(" again ") == RATE - 1
    assert log.dropped == 501


def test_a_fact_of_any_length_costs_one_short_line() -> None:
    stream = io.StringIO()
    BudgetedLog(Log(stream=stream)).info("long" * 10_000, text="x" * 10_000_000, error=ValueError("y" * 9))
    assert len(stream.getvalue()) < 10_000
    assert "(10000000 characters)" in stream.getvalue()
