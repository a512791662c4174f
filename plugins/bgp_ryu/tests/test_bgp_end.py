"""A speaker's process ends whatever the library does, and there is one of them at a socket."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from routerd_bgp_ryu.testing.processes import end_speaker, speakers

PROGRAM = """
import sys
from pathlib import Path
from routerd_bgp_ryu.child.server import Server

class Stuck:
    sessions = {}
    def check(self): pass
    def stop(self): raise KeyError("the library's")

server = Server(Path(sys.argv[1]), grace=60, stale=60)
server.listen()
server._speaker = Stuck()
server.stop()
server.run()
print("ended")
"""


def test_a_library_that_fails_while_it_stops_keeps_nobody_from_ending(short_path: Path) -> None:
    path = short_path / "speaker.sock"
    # A process of its own: the hub of green threads is not for the process of the tests.
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout == "ended\n", done.stderr
    assert not path.exists()


def started(path: Path) -> subprocess.Popen[bytes]:
    """Start a speaker's process as the daemon does; this one ends when it serves, or will not."""
    command = [sys.executable, "-m", "routerd_bgp_ryu.child", "--socket", str(path)]
    return subprocess.Popen(
        [*command, "--log", str(path.with_suffix(".log")), "--grace", "30"], stdout=subprocess.PIPE
    )


def serving(path: Path) -> int:
    """Return the process that answers at a socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        connection.sendall(b'{"id":1,"op":"hello"}\n')
        return int(json.loads(connection.makefile().readline())["result"]["pid"])


@pytest.mark.live
class TestAlone:
    @pytest.fixture
    def path(self, short_path: Path) -> Iterator[Path]:
        yield short_path / "speaker.sock"
        end_speaker(short_path)

    def test_of_those_that_start_at_once_one_serves_and_the_others_end(self, path: Path) -> None:
        """As after a start that was cancelled: a second one would take the socket away from the first."""
        processes = [started(path) for _ in range(4)]
        said = sorted(process.communicate(timeout=60)[0] for process in processes)
        assert said == [b"", b"", b"", b"ready\n"]
        first = serving(path)
        assert speakers(path.parent) == [first]

    def test_one_that_ends_is_waited_for(self, path: Path) -> None:
        """Its socket has gone, and the port is free only when the process has, too."""
        with path.with_suffix(".lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            process = started(path)
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], 2)
            assert not ready, "it did not wait"
        assert process.communicate(timeout=60)[0] == b"ready\n"
        assert speakers(path.parent) == [serving(path)]

    def test_after_one_that_was_killed_the_next_serves(self, path: Path) -> None:
        started(path).communicate(timeout=60)
        killed = serving(path)
        os.kill(killed, signal.SIGKILL)
        assert started(path).communicate(timeout=60)[0] == b"ready\n"
        assert serving(path) != killed
