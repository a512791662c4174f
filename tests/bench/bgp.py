"""Route reflection beside BIRD, FRR, GoBGP and the bare library: time, messages, memory, and growth.

N clients announce M host routes each; measured is the time until every client holds every other
one's. Runs in a network namespace of its own, where each client has an address.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs
from tests.bench import show
from tests.bench.bgp_clients import client_address
from tests.bench.bgp_reflectors import ADDRESS, PORT, RANGE, REFLECTORS, Load, Reflector, furnish, wait

LOADS = (Load(50, 20), Load(200, 20))
ROUNDS = 3
DEADLINE = 120.0
WIDTHS = (28, 11, 11, 10, 10, 10, 10, 13, 13)
CLIENTS = "clients"
"""Name of their namespace."""

INSIDE = "ROUTERD_BENCH_INSIDE"


@attrs.frozen(kw_only=True)
class Took:
    """What one run took; memory in kB: with sessions only, and after all routes; of all processes."""

    seconds: float
    change: float
    complete: bool
    updates: int
    cpu: float
    idle: int
    loaded: int


def report() -> None:
    """Print the tables, from inside the namespaces."""
    if not os.environ.get(INSIDE):
        subprocess.run(
            ["unshare", "-Urnm", sys.executable, "-m", "tests.bench", "bgp"],
            env={**os.environ, INSIDE: "1"},
            check=True,
        )
        return
    furnish()
    _lay(max(load.clients for load in LOADS))
    found = {load: _table(load) for load in LOADS}
    _growth(found)


def _table(load: Load) -> dict[str, Sequence[Took] | str]:
    """Measure every reflector, print a line for each, and return what was found."""
    wanted = load.clients * (load.clients - 1) * load.routes
    show.title(f"route reflection, {load} routes: {wanted:,} to be held, best and median of {ROUNDS} runs")
    show.row(
        "",
        "best",
        "median",
        "ours is",
        "complete",
        "UPDATEs",
        "CPU",
        "bytes/route",
        "one change",
        widths=WIDTHS,
    )
    found: dict[str, Sequence[Took] | str] = {}
    for reflector in REFLECTORS:
        runs = found[reflector.name] = _runs(reflector, load)
        if isinstance(runs, str):
            show.row(reflector.name, runs, widths=WIDTHS)
            continue
        ours = found[REFLECTORS[0].name]
        assert not isinstance(ours, str), "the first reflector is ours"
        best = min(run.seconds for run in runs)
        show.row(
            reflector.name,
            show.seconds(best),
            show.seconds(statistics.median(run.seconds for run in runs)),
            show.ratio(min(run.seconds for run in ours), best),
            f"{sum(run.complete for run in runs)} of {ROUNDS}",
            f"{runs[-1].updates:,}",
            show.seconds(min(run.cpu for run in runs)),
            f"{(runs[-1].loaded - runs[-1].idle) * 1024 / wanted:,.0f}",
            show.seconds(min(run.change for run in runs)),
            widths=WIDTHS,
        )
    return found


def _runs(reflector: Reflector, load: Load) -> Sequence[Took] | str:
    """Return what each run took, or why there is none."""
    if not reflector.present:
        return "not installed"
    if load.clients > reflector.largest:
        return "not run"
    return [_measure(reflector, load) for _ in range(ROUNDS)]


def _growth(found: Mapping[Load, Mapping[str, Sequence[Took] | str]]) -> None:
    small, large = LOADS
    more = large.clients - small.clients
    show.title(f"from {small} to {large}: memory with sessions only, and time for each route that is held")
    show.row("", f"MB at {small.clients}", f"MB at {large.clients}", "kB/peer", "time/route", widths=WIDTHS)
    for name, less in found[small].items():
        much = found[large][name]
        if isinstance(less, str) or isinstance(much, str):
            continue
        one, other = less[-1], much[-1]
        each = [
            min(run.seconds for run in runs) / (load.clients * (load.clients - 1) * load.routes)
            for load, runs in ((small, less), (large, much))
        ]
        show.row(
            name,
            f"{one.idle / 1024:.1f}",
            f"{other.idle / 1024:.1f}",
            f"{(other.idle - one.idle) / more:.0f}",
            show.ratio(each[1], each[0]),
            widths=WIDTHS,
        )


def _measure(reflector: Reflector, load: Load) -> Took:
    with (
        tempfile.TemporaryDirectory(prefix="rdb-", dir="/tmp") as place,
        _running(reflector, Path(place), load) as pids,
    ):
        clients = subprocess.Popen(
            [
                *("ip", "netns", "exec", CLIENTS),
                *(sys.executable, "-m", "tests.bench.bgp_clients", ADDRESS, str(PORT)),
                *(str(load.clients), str(load.routes), "--deadline", str(DEADLINE)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert clients.stdin is not None
        assert clients.stdout is not None
        if clients.stdout.readline() != "established\n":
            sys.exit(f"{reflector.name}: the sessions did not come up")
        idle, before = sum(map(_resident, pids)), sum(map(_processor, pids))
        clients.stdin.write("\n")
        clients.stdin.flush()
        found = json.loads(clients.stdout.readline())
        loaded, after = sum(map(_resident, pids)), sum(map(_processor, pids))
        clients.wait(30)
    return Took(
        seconds=found["seconds"],
        change=found["change"],
        complete=found["held"] >= found["wanted"],
        updates=found["updates"],
        cpu=after - before,
        idle=idle,
        loaded=loaded,
    )


@contextmanager
def _running(reflector: Reflector, directory: Path, load: Load) -> Iterator[list[int]]:
    """Run a reflector; yields its processes."""
    # A killed speaker is not our child; its port may still be in use. BIRD would not try again.
    wait(_free)
    processes = reflector.start(directory, load)
    pids = [process.pid for process in processes]
    speaker = directory / "pid"
    if reflector.own:
        pids.append(int(speaker.read_text()))  # it is a process of its own, and outlives the daemon
    try:
        yield pids
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in processes:
            process.wait()


def _free() -> bool:
    """Say whether the next reflector can have the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, PORT))
        except OSError:
            return False
        return True


def _lay(clients: int) -> None:
    """Join a namespace of the clients to ours; their addresses are not ours, or FRR would refuse them."""
    for command in (
        f"netns add {CLIENTS}",
        f"link add bench type veth peer name bench netns {CLIENTS}",
        f"addr add {ADDRESS}/32 dev lo",
        *(f"link set {device} up" for device in ("lo", "bench")),
        *(f"-n {CLIENTS} link set {device} up" for device in ("lo", "bench")),
        f"route add {RANGE} dev bench src {ADDRESS}",
        f"-n {CLIENTS} route add {ADDRESS} dev bench",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    lines = [f"addr add {client_address(number)}/32 dev lo" for number in range(clients)]
    subprocess.run(["ip", "-n", CLIENTS, "-batch", "-"], input="\n".join(lines), text=True, check=True)


def _resident(pid: int) -> int:
    """Return resident memory in kB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def _processor(pid: int) -> float:
    """Return seconds of the processor."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
