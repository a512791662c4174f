"""Outside the sandbox: starts a lab and follows it, finds one that runs, enters it, ends it."""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import attrs

from routerd_lab import linux, sandbox, supervisor
from routerd_lab.events import Event, Pipe, Reporter, Verdict, read_events
from routerd_lab.namespaces import LabError
from routerd_lab.patience import patient

KEEPER_FILE = "keeper.json"
_LAB_LOG = "lab.log"
_END_SECONDS = 15.0
_SHADOWED = ("/run", "/etc", "/var/lib", "/proc", "/sys")


def default_run_dir(topology: str) -> Path:
    """Return the directory for the files of a single run."""
    return Path(f"/tmp/routerd-{topology}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")  # noqa: S108 - the seed's place


def standing_run_dir() -> Path:
    """Return the directory of the user's one background lab, where later commands find it."""
    return Path(f"/tmp/routerd-lab-{os.getuid()}")  # noqa: S108 - found by name, owned by the user


@attrs.frozen(kw_only=True)
class Keeper:
    """The processes of a running lab as seen from outside: its keeper and its process 1.

    `started` is the keeper's start time in clock ticks since boot, because numbers are reused.
    """

    pid: int
    init: int
    started: int

    @property
    def alive(self) -> bool:
        """Say whether this very process still exists."""
        return _start_time(self.pid) == self.started


def _start_time(pid: int) -> int:
    """Return the start time of a process (proc(5), field 22 of stat); 0 when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    fields = stat.rpartition(")")[2].split()
    return 0 if fields[0] == "Z" else int(fields[19])


def own_start() -> float:
    """Return the monotonic time at which this process started; its imports count as part of a run."""
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - _start_time(os.getpid()) / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - age


def find(run_dir: Path) -> Keeper:
    """Return the lab that runs in `run_dir`; raises `LabError` if there is none."""
    path = run_dir / KEEPER_FILE
    if not path.exists():
        raise LabError(f"{run_dir}: no lab is running there; start one with `routerd lab up`")
    keeper = Keeper(**json.loads(path.read_text(encoding="ascii")))
    if not keeper.alive:
        raise LabError(
            f"{run_dir}: the lab has ended; read {run_dir / 'logs'}, then start one with `routerd lab up`"
        )
    return keeper


def prepare(run_dir: Path) -> None:
    """Make the run directory; raises `LabError` if it is in use or hidden from the machines."""
    resolved = run_dir.resolve()
    if any(resolved.is_relative_to(taken) for taken in _SHADOWED):
        raise LabError(f"{run_dir}: the machines of the lab would not see it; choose a directory in /tmp")
    if run_dir.exists() and any(run_dir.iterdir()):
        raise LabError(f"{run_dir}: is not empty; choose another run directory with --run-dir")
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if run_dir.is_symlink() or run_dir.stat().st_uid != os.getuid():
        raise LabError(f"{run_dir}: belongs to another user; choose another run directory with --run-dir")


class Running:
    """A lab that was started from here: yields its events, then its exit status."""

    def __init__(self, plan: supervisor.Plan) -> None:
        self._hold = plan.hold
        read_end, write_end = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(read_end)
            os._exit(_keep(plan, write_end))
        os.close(write_end)
        self._pipe: BinaryIO = os.fdopen(read_end, "rb")

    def events(self) -> Iterator[Event]:
        """Yield events; stops after the verdict if the lab stays, otherwise at the lab's end."""
        for event in read_events(self._pipe):
            yield event
            if isinstance(event, Verdict) and self._hold:
                return

    def wait(self) -> int:
        """Return the exit status of a lab that ends by itself."""
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])

    def stop(self) -> None:
        """End the lab and wait for it."""
        os.kill(self._pid, signal.SIGTERM)
        self.wait()


def _keep(plan: supervisor.Plan, pipe: int) -> int:
    """Act as the keeper: leave the terminal, then run the sandbox."""
    caller = os.getppid()
    # Read now, since the sandbox has a /proc of its own in which we do not exist.
    own_start = _start_time(os.getpid())
    os.setsid()
    log = os.open(plan.run_dir / _LAB_LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)

    def started(init: int) -> None:
        if not plan.hold:
            linux.die_with_parent(signal.SIGKILL)
            if os.getppid() != caller:
                os.kill(init, signal.SIGKILL)
        facts = Keeper(pid=os.getpid(), init=init, started=own_start)
        (plan.run_dir / KEEPER_FILE).write_text(json.dumps(attrs.asdict(facts)), encoding="ascii")
        os.close(pipe)

    reporter = Reporter(Pipe(pipe).write)
    try:
        return sandbox.enter(lambda: supervisor.run(plan, reporter), started=started, as_root=plan.as_root)
    except Exception as exc:  # noqa: BLE001 - the last frame of a process: the reader must learn why it ends
        reporter.send(
            Verdict(
                passed=False,
                seconds=0.0,
                stages={},
                checks=(),
                pairs=(),
                run_dir=str(plan.run_dir),
                error=str(exc),
            )
        )
        return 1
    finally:
        (plan.run_dir / KEEPER_FILE).unlink(missing_ok=True)


def ask(run_dir: Path) -> Iterator[Event]:
    """Ask a running lab for a fresh check and yield its events."""
    find(run_dir)
    # Through a descriptor, because a socket's path may have only 108 bytes (unix(7)).
    directory = os.open(run_dir, os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(f"/proc/self/fd/{directory}/{supervisor.SOCKET}")
            with sock.makefile("rb") as stream:
                yield from read_events(stream)
    except OSError as exc:
        raise LabError(f"{run_dir}: the lab does not answer yet; {exc.strerror}; try again later") from exc
    finally:
        os.close(directory)


def enter_argv(run_dir: Path, machine: str, command: tuple[str, ...]) -> list[str]:
    """Return the command line that runs `command` in a machine of a running lab."""
    keeper = find(run_dir)
    machines: dict[str, int] = json.loads((run_dir / supervisor.MACHINES_FILE).read_text(encoding="ascii"))
    if machine not in machines:
        raise LabError(f"{machine}: no machine has this name; choose one of {', '.join(sorted(machines))}")
    # A process cannot enter the user namespace that it is already in.
    ours, its = (Path(f"/proc/{pid}/ns/user").stat().st_ino for pid in ("self", keeper.init))
    user = [] if ours == its else ["-U", "--preserve-credentials"]
    outer = ["nsenter", "-t", str(keeper.init), *user, "-m", "-p", "--"]
    inner = ["nsenter", "-t", str(machines[machine]), "-n", "-m", "-u", "--"]
    return [*outer, *inner, *command]


def end(run_dir: Path) -> None:
    """End a running lab and wait until nothing of it is left."""
    keeper = find(run_dir)
    os.kill(keeper.pid, signal.SIGTERM)
    deadline = time.monotonic() + patient(_END_SECONDS)
    while keeper.alive:
        if time.monotonic() > deadline:
            # Process 1 takes its whole PID namespace with it.
            os.kill(keeper.init, signal.SIGKILL)
            deadline += patient(_END_SECONDS)
        time.sleep(0.05)
    (run_dir / KEEPER_FILE).unlink(missing_ok=True)
