"""The lock of a network namespace: a second routerd is refused, a stranger stops nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from routerd.errors import ControlError
from routerd.process import namespace_lock
from routerd.process.namespace_lock import only_one_here
from routerd.testing.context import RecordingLogger

HOLDS = """
import os, socket, sys
if sys.argv[2]:
    os.setuid(int(sys.argv[2]))
held = socket.socket(socket.AF_UNIX)
held.bind(chr(0).encode() + sys.argv[1].encode())
if sys.argv[3]:
    held.listen(0)
waiting = []
for _ in range(int(sys.argv[4])):
    waiting.append(socket.socket(socket.AF_UNIX))
    waiting[-1].setblocking(False)
    try:
        waiting[-1].connect(chr(0).encode() + sys.argv[1].encode())
    except BlockingIOError:
        break
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def name(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a name of this test alone: others may run a routerd in this namespace."""
    made = f"routerd.test/{os.getpid()}"
    monkeypatch.setattr(namespace_lock, "NAME", b"\0" + made.encode())
    monkeypatch.setattr(namespace_lock, "PATIENCE", 0.2)
    return made


@contextmanager
def holder(name: str, *, user: str = "", listens: bool = True, queue: int = 0) -> Iterator[int]:
    command = [sys.executable, "-c", HOLDS, name, user, "yes" if listens else "", str(queue)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process.pid
        finally:
            process.kill()


def take() -> str:
    """Try to take the lock; return what the log says."""
    log = RecordingLogger()
    with only_one_here(log):
        return log.text()


def test_the_lock_is_held_once_and_free_again_afterwards() -> None:
    for _ in range(2):
        with only_one_here(RecordingLogger()), pytest.raises(ControlError, match=f"process {os.getpid()}; "):
            take()
        assert take() == ""


@pytest.mark.parametrize("queue", [0, 5])
def test_a_routerd_of_our_user_is_named(name: str, queue: int) -> None:
    with holder(name, queue=queue) as process, pytest.raises(ControlError, match=f"process {process}; "):
        take()


@pytest.mark.parametrize(
    ("listens", "queue", "words"),
    [
        (True, 0, "process"),
        (True, 5, "process"),
        (False, 0, "a process that does not listen"),
    ],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_a_stranger_stops_nobody_and_is_named(name: str, listens: bool, queue: int, words: str) -> None:
    with holder(name, user="65534", listens=listens, queue=queue):
        said = take()
    assert "lock.foreign" in said
    assert words in said
