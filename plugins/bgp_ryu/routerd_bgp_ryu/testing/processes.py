"""Ends speakers that tests leave running, known by their sockets."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path


def end_speaker(run_dir: Path) -> None:
    """End the speaker whose socket is in a run directory, and wait until it has gone."""
    socket_path = str(run_dir / "speaker.sock").encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            if socket_path in (entry / "cmdline").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)
                deadline = time.monotonic() + 10
                while Path(f"/proc/{entry.name}/exe").exists() and time.monotonic() < deadline:
                    os.sched_yield()
