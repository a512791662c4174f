"""A standing lab for tests: its machines, daemons and commands. Not a test itself."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.waiting import until

ROUTERD = str(Path(sys.executable).with_name("routerd"))


def run(*words: str, seconds: float = 120, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROUTERD, *words], capture_output=True, text=True, check=False, timeout=seconds, **options
    )


def assert_passed(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    assert done.stdout, done.stderr
    verdict: dict[str, object] = json.loads(done.stdout)
    assert done.returncode == 0, json.dumps(verdict, indent=1)
    assert verdict["passed"] is True
    return verdict


def failing(verdict: dict[str, object]) -> set[tuple[str, str]]:
    return {
        (each["source"], each["target"]) for each in verdict["pairs"] if not (each["ping"] and each["ssh"])
    }


@contextlib.contextmanager
def run_directory(tmp_path: Path) -> Iterator[Path]:
    """Yield a run directory that everybody may reach, short enough for sockets."""
    directory = Path("/tmp", f"rd-test-{os.getpid()}-{tmp_path.name[-12:]}")
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class Lab:
    """A standing lab."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def execute(self, machine: str, *command: str) -> subprocess.CompletedProcess[str]:
        return run("lab", "exec", "--run-dir", str(self.place), machine, "--", *command)

    def daemon_of(self, machine: str) -> str:
        """Return the number of the machine's daemon, or nothing when none runs."""
        done = self.execute(machine, "pgrep", "-f", f"routerd --config .*/{machine}.yaml")
        return done.stdout.split()[0] if done.stdout else ""

    def signal(self, machine: str, how: signal.Signals) -> str:
        """Send a signal to the machine's daemon and return its number."""
        number = self.daemon_of(machine)
        assert number, f"no daemon runs on {machine}"
        done = self.execute(machine, "kill", f"-{how.name.removeprefix('SIG')}", number)
        assert done.returncode == 0, done.stderr
        return number

    def end_daemon(self, machine: str, how: signal.Signals) -> None:
        number = self.signal(machine, how)
        until(lambda: self.daemon_of(machine) != number)

    def kill_speaker(self, machine: str) -> None:
        """Kill the machine's BGP speaker; its network tells which of the shared processes it is."""
        here = '[ "$(readlink /proc/$p/ns/net)" = "$(readlink /proc/self/ns/net)" ]'
        loop = f"for p in $(pgrep -f routerd_bgp_ryu.child); do {here} && kill -9 $p && echo $p; done; true"
        done = self.execute(machine, "sh", "-c", loop)
        assert len(done.stdout.split()) == 1, done.stdout + done.stderr

    def start_daemon(self, machine: str) -> subprocess.Popen[bytes]:
        """Start a daemon as the lab does, trusting the lab's certificate authority."""
        authority = str(self.place / "tls" / "ca.pem")
        names = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE")
        command = [ROUTERD, "lab", "exec", "--run-dir", str(self.place), machine, "--", ROUTERD]
        command += ["--config", str(self.place / "configs" / f"{machine}.yaml")]
        with (self.place / "logs" / f"{machine}-again.log").open("wb") as log:
            return subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, **dict.fromkeys(names, authority)}
            )

    def status(self, machine: str) -> dict[str, object]:
        done = self.execute(machine, ROUTERD, "status", "--json")
        return json.loads(done.stdout) if done.stdout else {"phase": "", "reasons": [done.stderr]}

    def ready(self, machine: str) -> bool:
        return self.status(machine)["phase"] == "Ready"

    def judged(self) -> dict[str, object]:
        return assert_passed(run("lab", "status", "--json", "--run-dir", str(self.place)))


@contextlib.contextmanager
def standing_lab(place: Path) -> Iterator[Lab]:
    """Bring a lab up and take it down."""
    assert_passed(run("lab", "up", "--json", "--run-dir", str(place)))
    try:
        yield Lab(place)
    finally:
        done = run("lab", "down", "--run-dir", str(place))
        assert done.returncode == 0, done.stderr
