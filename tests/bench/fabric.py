"""The four-site lab as a user runs it: time to the verdict, and memory of a leaf and a reflector."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import show

RUNS = 3
ROUTERD = str(Path(sys.executable).with_name("routerd"))
NODES = ("routerd-fullmesh-rr", "aws-leaf", "azure-leaf", "oci-leaf", "pve-leaf")
REFLECTOR, REVOKED, ADDRESS, OTHER = NODES[0], "oci-leaf", "10.83.10.20", "aws-leaf"
REVOCATIONS = 3
PARTS = {
    "daemon": "bin/routerd",
    "BGP speaker": "routerd_bgp_ryu.child",
    "ipip relay": "routerd_transport_ipip",
    "wireguard-go": "wireguard-go",
}
BIRD = """
router id 10.0.0.1;
protocol device {}
protocol bgp { local as 65000; neighbor 10.0.0.2 as 65000; ipv4 { import all; export all; }; passive; }
"""


def report() -> None:
    """Measure time to the verdict over some runs, then memory in a standing lab."""
    show.title(f"routerd lab run fullmesh: from the command to the verdict, {RUNS} runs")
    verdicts = sorted((_run() for _ in range(RUNS)), key=lambda verdict: verdict["seconds"])
    times = [verdict["seconds"] for verdict in verdicts]
    show.row("fastest, median, slowest", *(f"{value:.1f} s" for value in times))
    for name, took in verdicts[RUNS // 2]["stages"].items():
        show.row(f"  {name}", "", f"{took:.1f} s")
    _memory()


def _run() -> dict[str, object]:
    with tempfile.TemporaryDirectory(prefix="rdb-", dir="/tmp") as place:
        done = subprocess.run(
            [ROUTERD, "lab", "run", "fullmesh", "--json", "--run-dir", f"{place}/lab"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        verdict: dict[str, object] = json.loads(done.stdout or "{}")
        if done.returncode:
            raise SystemExit(f"the lab failed, so there is nothing to measure: {verdict or done.stderr}")
        return verdict


def _memory() -> None:
    show.title("resident memory in MB, four leaves joined; BIRD with one session as the peer of the speaker")
    bird = _bird()
    show.row("", *PARTS, widths=(24, 12, 14, 14, 14))
    with tempfile.TemporaryDirectory(prefix="rdb-", dir="/tmp") as place:
        lab = ["--run-dir", f"{place}/lab"]
        subprocess.run([ROUTERD, "lab", "up", "--json", *lab], capture_output=True, check=True)
        try:
            for node in NODES:
                figures = [_resident(lab, node, pattern) for pattern in PARTS.values()]
                show.row(node, *(f"{value / 1024:.1f}" for value in figures), widths=(24, 12, 14, 14, 14))
                if node == "aws-leaf" and bird:
                    show.row("  speaker against BIRD", "", show.ratio(figures[1], bird), widths=(24, 12, 14))
            show.row("BIRD", "", f"{bird / 1024:.1f}" if bird else "not installed", widths=(24, 12, 14))
            _revocation(lab)
        finally:
            subprocess.run([ROUTERD, "lab", "down", *lab], capture_output=True, check=False)


def _revocation(lab: list[str]) -> None:
    """Measure from the command that revokes a leaf to the route that leaves another leaf's kernel."""
    show.title(f"from routerd enroll revoke to the kernel of another leaf, {REVOCATIONS} times")
    took = []
    for _ in range(REVOCATIONS):
        watch = subprocess.Popen(
            _inside(lab, OTHER, f"echo; while ip route | grep -q {ADDRESS}; do sleep 0.01; done; date +%s%N"),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert watch.stdout is not None
        watch.stdout.readline()
        revoke = f"date +%s%N; {ROUTERD} enroll revoke {REVOKED} --reason bench >&2"
        began = subprocess.run(
            _inside(lab, REFLECTOR, revoke),
            capture_output=True,
            text=True,
            check=True,
        )
        ended, _ = watch.communicate(timeout=60)
        took.append((int(ended) - int(began.stdout)) / 1e9)
        approve = f"{ROUTERD} enroll approve {REVOKED} --reason bench"
        subprocess.run(_inside(lab, REFLECTOR, approve), capture_output=True, check=True)
        subprocess.run(_inside(lab, REVOKED, f"{ROUTERD} retry"), capture_output=True, check=True)
        back = f"until ip route | grep -q {ADDRESS}; do sleep 0.1; done"
        subprocess.run(_inside(lab, OTHER, back), check=True, timeout=60)
    show.row("fastest, median, slowest", *(show.seconds(value) for value in sorted(took)))


def _inside(lab: list[str], node: str, script: str) -> list[str]:
    return [ROUTERD, "lab", "exec", *lab, node, "--", "sh", "-c", script]


def _resident(lab: list[str], node: str, pattern: str) -> int:
    """Return the kilobytes of the processes of a node whose command line matches."""
    script = (
        f"for pid in $(pgrep -f '{pattern}'); do "
        "[ $(readlink /proc/$pid/ns/net) = $(readlink /proc/self/ns/net) ] && [ $pid != $$ ] && "
        "grep VmRSS /proc/$pid/status; done; true"
    )
    done = subprocess.run(_inside(lab, node, script), capture_output=True, text=True, check=True)
    return sum(int(line.split()[1]) for line in done.stdout.splitlines())


def _bird() -> int:
    """Return the kilobytes of an idle BIRD, 0 when there is none."""
    program = shutil.which("bird", path="/usr/sbin:/usr/bin")
    if program is None:
        return 0
    with tempfile.TemporaryDirectory() as place:
        config = Path(place, "bird.conf")
        config.write_text(BIRD)
        command = ["unshare", "-Urnm", program, "-f", "-c", str(config), "-s", f"{place}/ctl"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 5
            while not Path(place, "ctl").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            status = Path(f"/proc/{process.pid}/status").read_text()
            process.terminate()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))
