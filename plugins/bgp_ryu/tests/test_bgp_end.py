"""The speaker's process ends whatever the library does, for who stops it waits until its socket has gone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
