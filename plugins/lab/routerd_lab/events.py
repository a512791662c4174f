"""What the lab tells while it works: one JSON object a line, through a pipe, to whoever shows it.

The lab itself runs inside a sandbox; the screen and the terminal stay outside.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
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
    """How far something has come, such as routes in one leaf's kernel."""

    name: str
    have: int
    want: int


@attrs.frozen(kw_only=True)
class Check:
    """One assertion of the gate, with what to look at when it failed."""

    name: str
    passed: bool
    detail: str = ""


@attrs.frozen(kw_only=True)
class Verdict:
    """The end of a run; `error` is set when it did not come to its assertions."""

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
    """Writes events into a pipe; a reader that has gone away is no reason to stop."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.stages: dict[str, float] = {}

    def send(self, event: Event) -> None:
        """Write one event; a line this short is written at once or not at all (pipe(7))."""
        line = json.dumps({type(event).__name__: cattrs.unstructure(event)}) + "\n"
        try:
            os.write(self._descriptor, line.encode())
        except BrokenPipeError:
            self._descriptor = os.open(os.devnull, os.O_WRONLY)

    def close(self) -> None:
        """Close our end; the reader then sees the end."""
        os.close(self._descriptor)

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


def read_events(pipe: BinaryIO) -> Iterator[Event]:
    """Yield events until the other end closes."""
    for line in pipe:
        for name, fields in json.loads(line).items():
            yield cattrs.structure(fields, _TYPES[name])
