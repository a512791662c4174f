"""What the gate of the lab costs: seconds from the command to its verdict, and of all processors together."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench import show

RUNS = 3
ROUTERD = str(Path(sys.executable).with_name("routerd"))


def report() -> None:
    """Print the figures of some runs; those of a run on a busy machine say little."""
    show.title(f"the gate: routerd lab run fullmesh, {RUNS} runs")
    show.row("", "to verdict", "processor", "verdict")
    for number in range(1, RUNS + 1):
        before = _processor()
        with tempfile.TemporaryDirectory(prefix="rdb-", dir="/tmp") as place:
            command = [ROUTERD, "lab", "run", "fullmesh", "--json", "--run-dir", f"{place}/run"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not done.stdout:
            raise SystemExit(f"the lab gave no verdict: {done.stderr}")
        verdict = json.loads(done.stdout)
        passed = "passed" if verdict["passed"] else "FAILED"
        spent = show.seconds(_processor() - before)
        show.row(f"run {number}", show.seconds(verdict["seconds"]), spent, passed)
        for stage, took in verdict["stages"].items():
            show.row(f"  {stage}", show.seconds(took))


def _processor() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime
