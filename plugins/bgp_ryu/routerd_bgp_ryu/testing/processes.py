"""Ends speakers that tests leave running, known by their sockets."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path


def speakers(run_dir: Path) -> list[int]:
    """Return the processes that were started for the socket in a run directory."""
    socket_path = str(run_dir / "speaker.sock").encode()
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and socket_path in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def end_speaker(run_dir: Path) -> None:
    """End the speaker whose socket is in a run directory, and wait until it has gone."""
    for pid in speakers(run_dir):
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + 10
            while Path(f"/proc/{pid}/exe").exists() and time.monotonic() < deadline:
                os.sched_yield()
