"""The lab's progress as events: one JSON object a line, through a pipe, to the screen.

The lab itself runs inside a sandbox; the screen and the terminal stay outside.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import BinaryIO, Literal

import attrs
import cattrs

from routerd_lab.matrix import Pair

StageState = Literal["running", "done", "failed"]


@attrs.frozen(kw_only=True)
class Stage:
    """A stage has begun or ended, `seconds` after its beginning."""

    name: str
    state: StageState
    seconds: float = 0.0
    note: str = ""


@attrs.frozen(kw_only=True)
class Count:
    """The progress of one count, such as the routes in one leaf's kernel."""

    name: str
    have: int
    want: int


@attrs.frozen(kw_only=True)
class Check:
    """One assertion of the gate, with a hint if it failed."""

    name: str
    passed: bool
    detail: str = ""


@attrs.frozen(kw_only=True)
class Verdict:
    """The end of a run; `error` is set if the run ended before its assertions."""

    passed: bool
    seconds: float
    stages: Mapping[str, float]
    checks: tuple[Check, ...]
    pairs: tuple[Pair, ...]
    run_dir: str
    tarball: str = ""
    sha256: str = ""
    error: str = ""


Event = Stage | Count | Check | Pair | Verdict
_TYPES: Mapping[str, type[Event]] = {kind.__name__: kind for kind in (Stage, Count, Check, Pair, Verdict)}


class Reporter:
    """Sends events through `write`, and remembers how long each stage took."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self.stages: dict[str, float] = {}

    def send(self, event: Event) -> None:
        """Send one event."""
        line = json.dumps({type(event).__name__: cattrs.unstructure(event)}) + "\n"
        self._write(line.encode())

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Report a stage's beginning and end, and remember how long it took."""
        begun = time.monotonic()
        self.send(Stage(name=name, state="running"))
        state: StageState = "failed"
        try:
            yield
            state = "done"
        finally:
            self.stages[name] = round(time.monotonic() - begun, 2)
            self.send(Stage(name=name, state=state, seconds=self.stages[name]))


class Pipe:
    """The writing end of a pipe; it goes on when its reader has gone away."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def write(self, data: bytes) -> None:
        """Write all of `data`, unless the reader has gone."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self.descriptor, view) :]
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), self.descriptor, inheritable=False)


def read_events(pipe: BinaryIO) -> Iterator[Event]:
    """Yield events until the other end closes."""
    for line in pipe:
        for name, fields in json.loads(line).items():
            yield cattrs.structure(fields, _TYPES[name])
