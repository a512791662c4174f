"""The world of one provider in a test: `make_context` and its fakes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import attrs

from routerd.spi import Clock, Kernel, Pacer, PluginContext
from routerd.testing.clock import FakeClock
from routerd.testing.kernel import FakeKernel


@attrs.frozen(kw_only=True)
class LogEntry:
    """One logged event."""

    level: str
    event: str
    facts: tuple[tuple[str, object], ...] = ()

    def __str__(self) -> str:
        return " ".join([self.level, self.event, *(f"{key}={value}" for key, value in self.facts)])


class RecordingLogger:
    """Implements `spi.Logger` and keeps every entry.

    Added in 1.0.
    """

    def __init__(self) -> None:
        self.entries: list[LogEntry] = []

    def debug(self, event: str, /, **facts: object) -> None:
        """Keep an event of level debug."""
        self._keep("debug", event, facts)

    def info(self, event: str, /, **facts: object) -> None:
        """Keep an event of level info."""
        self._keep("info", event, facts)

    def warning(self, event: str, /, **facts: object) -> None:
        """Keep an event of level warning."""
        self._keep("warning", event, facts)

    def error(self, event: str, /, **facts: object) -> None:
        """Keep an event of level error."""
        self._keep("error", event, facts)

    def events(self, level: str = "") -> list[str]:
        """Return the names of the events, of one level or of all."""
        return [entry.event for entry in self.entries if level in ("", entry.level)]

    def text(self) -> str:
        """Return the whole log as text, for searches of secrets."""
        return "\n".join(str(entry) for entry in self.entries)

    def _keep(self, level: str, event: str, facts: dict[str, object]) -> None:
        self.entries.append(LogEntry(level=level, event=event, facts=tuple(facts.items())))


class TaskSpawn:
    """Implements `spi.Spawn`: runs the tasks and keeps those that failed in `failures`.

    Added in 1.0.
    """

    def __init__(self) -> None:
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.failures: dict[str, BaseException] = {}

    def __call__(self, name: str, work: Coroutine[Any, Any, None]) -> None:  # Any: as in spi.Spawn
        """Run `work` as a task of the running loop."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks[name] = task
        task.add_done_callback(lambda done: self._ended(name, done))

    async def aclose(self) -> None:
        """Cancel the running tasks and wait for their end."""
        running = list(self.tasks.values())
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        self.tasks.pop(name, None)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.failures[name] = error


class WakeCounter:
    """Counts a provider's requests to wake the loop."""

    def __init__(self) -> None:
        self.count = 0
        self.event = asyncio.Event()

    def __call__(self) -> None:
        """Count one request."""
        self.count += 1
        self.event.set()


class CountingPacer:
    """Implements `spi.Pacer`: never waits, counts calls in `taken`, keeps the pauses in `holds`.

    Added in 1.0.
    """

    def __init__(self, *, rate: float, burst: int) -> None:
        self.rate = rate
        self.burst = burst
        self.taken = 0
        self.holds: list[float] = []

    async def take(self) -> None:
        """Count a call."""
        self.taken += 1

    def hold(self, seconds: float) -> None:
        """Keep the length of a pause."""
        self.holds.append(seconds)


class CountingPacing:
    """Implements `spi.Pacing`; `pacers` holds them by account.

    Added in 1.0.
    """

    def __init__(self) -> None:
        self.pacers: dict[str, CountingPacer] = {}

    def __call__(self, account: str, *, rate: float, burst: int) -> Pacer:
        """Return the pacer of an account."""
        if account not in self.pacers:
            self.pacers[account] = CountingPacer(rate=rate, burst=burst)
        return self.pacers[account]


def make_context(
    tmp_path: Path,
    *,
    plugin: str = "example",
    node: str = "node-1",
    clock: Clock | None = None,
    kernel: Kernel | None = None,
    log: RecordingLogger | None = None,
    read_only: bool = False,
) -> PluginContext:
    """Return a context with directories below `tmp_path` and fakes for every part.

    `context.log` is a `RecordingLogger`, `context.spawn` a `TaskSpawn`, `context.wake` a
    `WakeCounter`, `context.pacing` a `CountingPacing`. A second call with the same `tmp_path` and
    `kernel` plays a restart.

    Added in 1.0.
    """
    state_dir, run_dir = tmp_path / "state", tmp_path / "run"
    for directory in (state_dir, run_dir):
        directory.mkdir(mode=0o700, exist_ok=True)
    return PluginContext(
        plugin=plugin,
        node=node,
        log=log or RecordingLogger(),
        clock=clock or FakeClock(),
        kernel=kernel or FakeKernel(),
        state_dir=state_dir,
        run_dir=run_dir,
        wake=WakeCounter(),
        spawn=TaskSpawn(),
        pacing=CountingPacing(),
        read_only=read_only,
    )


def as_read_only(context: PluginContext) -> PluginContext:
    """Return the same world for a dry run."""
    return attrs.evolve(context, read_only=True)
