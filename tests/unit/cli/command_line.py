"""Runs `routerd` in this process, as a shell would see it."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from unittest import mock

import attrs

from routerd.cli import main


@attrs.frozen
class Done:
    """What a command left behind."""

    status: int
    out: str
    err: str


def routerd(*words: object) -> Done:
    out, err = io.StringIO(), io.StringIO()
    argv = ["routerd", *map(str, words)]
    status: object = 0
    with mock.patch.object(sys, "argv", argv), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as exit_:
            status = exit_.code
    assert isinstance(status, int)
    return Done(status, out.getvalue(), err.getvalue())
