"""The lab needs no privilege, ends with whoever started it, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest
from tests.support.waiting import until

SCENARIO = Path(__file__).with_name("lab_scenario.py")
NOBODY = 65534
SLEEPER = """
import sys, time
from pathlib import Path
from routerd_lab import linux, sandbox
from routerd_lab.namespaces import MachineSpec, make_machine
import signal

def main():
    machine = make_machine(MachineSpec(name="alone"))
    print(machine.pid, flush=True)
    time.sleep(60)
    return 0

sys.exit(sandbox.enter(main, started=lambda pid: linux.die_with_parent(signal.SIGKILL)))
"""

pytestmark = [pytest.mark.netns, pytest.mark.timeout(900)]


def namespaces_of(pid: int) -> set[str]:
    """Return the network namespaces of a process and all its descendants."""
    found = set()
    for process in (pid, *descendants(pid)):
        try:
            found.add(str(Path(f"/proc/{process}/ns/net").readlink()))
        except OSError:
            continue
    return found


def descendants(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    children = [int(word) for word in path.read_text().split()] if path.exists() else []
    return [each for child in children for each in (child, *descendants(child))]


def all_namespaces(processes: Collection[str] | None = None) -> set[str]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/ns/net"):
        if processes is not None and path.parts[2] not in processes:
            continue
        try:
            found.add(str(path.readlink()))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_when_the_keeper_ends_every_process_and_namespace_ends(number: signal.Signals) -> None:
    before = all_namespaces()
    with subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE, text=True) as keeper:
        assert keeper.stdout is not None
        assert keeper.stdout.readline()
        inside = descendants(keeper.pid)
        made = namespaces_of(keeper.pid) - before
        assert len(inside) == 3  # init, main, and the machine's holder
        assert len(made) == 2
        earlier = {path.name for path in Path("/proc").glob("[0-9]*")}
        keeper.send_signal(number)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in inside))
    # The number of a namespace that has ended is given again, to processes that start later.
    until(lambda: not made & all_namespaces(earlier))


def test_ends_with_the_process_that_started_the_keeper() -> None:
    starter = (
        f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {SLEEPER!r}]); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        inside = descendants(process.pid)
        assert len(inside) == 4
        process.kill()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in inside))


def test_the_exit_status_is_that_of_the_work_inside() -> None:
    code = """
import sys
from routerd_lab import sandbox
sys.exit(sandbox.enter(lambda: 7, started=lambda pid: None))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=300).returncode == 7


def test_the_hosts_files_are_untouched_by_a_machines_own() -> None:
    code = """
import asyncio, sys
from pathlib import Path
from routerd_lab import sandbox
from routerd_lab.namespaces import MachineSpec, make_machine

def main():
    files = {Path("/etc/hosts"): "192.0.2.1 lab\\n", Path("/var/lib/lab-test/deep/file"): "here"}
    machine = make_machine(MachineSpec(name="m", files=files))
    show = "cat /etc/hosts /var/lib/lab-test/deep/file; test -e /etc/passwd && uname -n"
    print(asyncio.run(machine.run("sh", "-c", show)))
    return 0

sys.exit(sandbox.enter(main, started=lambda pid: None))
"""
    hosts = Path("/etc/hosts").read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stdout.split() == ["192.0.2.1", "lab", "herem"]
    assert Path("/etc/hosts").read_bytes() == hosts
    assert not Path("/var/lib/lab-test").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else to prove this")
@pytest.mark.skipif(shutil.which("sshd") is None, reason="needs openssh-server")
def test_an_unprivileged_user_gets_the_same_fabric() -> None:
    command = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
    done = subprocess.run(
        [*command, sys.executable, str(SCENARIO)],
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
        env={**os.environ, "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert results["all set"] == []
    assert len(results["nothing set"]) == 12
