"""TCP through two sites and the hub between them: tunnels that routerd made beside the same made by hand.

Runs in the virtual machine, as root: `report` starts one fabric of each kind and measures them in turn.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from tests.bench import show
from tests.vm import fabric_world as world

ROUNDS = 7
SECONDS = 4
KINDS = ("by hand", "routerd")


def report() -> None:
    """Print the throughput of both and their ratio."""
    show.title(
        f"iperf3 through two sites and the hub, ipip in WireGuard, best of {ROUNDS} x {SECONDS} s in turn"
    )
    fabrics = [_Fabric(kind) for kind in KINDS]
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(ROUNDS):
        for fabric in fabrics:
            found[fabric.kind].append(fabric.measure())
    for fabric in fabrics:
        fabric.close()
    show.row("", "best", "median")
    for kind in KINDS:
        show.row(kind, _megabits(max(found[kind])), _megabits(statistics.median(found[kind])))
    hand, ours = (found[kind] for kind in KINDS)
    show.row(
        "routerd against by hand",
        show.ratio(max(ours), max(hand)),
        show.ratio(statistics.median(ours), statistics.median(hand)),
    )


def _megabits(value: float) -> str:
    return f"{value / 1e6:,.0f} Mbit/s"


class _Fabric:
    """A process that has built one fabric and measures it when asked."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._process = subprocess.Popen(
            world.entering(sys.executable, "-m", "tests.bench.dataplane", kind),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._line()

    def measure(self) -> float:
        """Return bits of payload per second."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=60)

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"the fabric {self.kind} has ended")
        return line


def serve(words: Sequence[str]) -> None:
    """Build the fabric that is asked for; measure it once for each line of input."""
    (kind,) = words
    world.lay()
    if kind == "routerd":
        world.by_routerd()
    else:
        world.by_hand()
    deadline = time.monotonic() + 120
    ping = ["ip", "netns", "exec", "client-a", "ping", "-q", "-c", "1", "-W", "2", "10.1.2.2"]
    while subprocess.run(ping, stdout=subprocess.DEVNULL, check=False).returncode:
        assert time.monotonic() < deadline, "no packet passes"
    world.inside("client-b", "iperf3 -s -D")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for _ in sys.stdin:
        said = json.loads(world.inside("client-a", f"iperf3 -c 10.1.2.2 -t {SECONDS} -J"))
        sys.stdout.write(f"{said['end']['sum_received']['bits_per_second']}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve(sys.argv[1:])
