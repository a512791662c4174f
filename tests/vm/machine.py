"""Runs one command in the machine and brings back its output, its exit status and its files.

There are three machines, and every test runs in each of them: QEMU on /dev/kvm where a guest boots on it, a
kernel as a process of the host (`usermode`), and QEMU's emulated processor.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.vm import parts, qemu, usermode

EXCHANGE = Path("/run/vm")
"""Where the machine sees the directory of results."""
STARTING = 120.0
"""Seconds that booting may take on top of the command's time; it takes some 5 on a quiet machine."""
KINDS = ("auto", "kvm", "usermode", "tcg")
"""`auto` is the first of the others that there is on this host."""
TIMED_OUT, NO_STATUS = 124, 125
"""Exit statuses: as timeout(1) has them, and for a machine that ended without one."""

_GUEST = Path(__file__).with_name("guest.sh")
_KEPT = ("CI", "HOME", "LANG", "LC_ALL", "TERM", "USER")


def run(
    command: Sequence[str],
    *,
    results: Path,
    seconds: float = 1200,
    kind: str = "auto",
    env: Mapping[str, str] | None = None,
) -> int:
    """Run `command` as root in the current directory of the machine and return its exit status.

    `results` is made empty; the machine sees it as /run/vm, and the kernel's log is left in it as
    `console.log`. The machine reads the host's tree and cannot change it. It ends with the command,
    after `seconds`, and with this process. `kind` is one of `KINDS`. Raises `MissingPart`.
    """
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir(parents=True)
    (results / "settings.sh").write_text(
        f"SECONDS_AT_MOST={int(seconds)}\nINTERACTIVE={int(sys.stdin.isatty())}\n"
        f"BUSYBOX={shlex.quote(str(parts.busybox()))}\n",
        encoding="utf-8",
    )
    (results / "command.sh").write_text(_script(command, env or {}), encoding="utf-8")
    shutil.copy(_GUEST, results / "guest.sh")
    with _started(results, kind) as running:
        try:
            running.wait(seconds + STARTING)
        except subprocess.TimeoutExpired:
            return TIMED_OUT
    try:
        return int((results / "status").read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return NO_STATUS


@contextmanager
def _started(results: Path, kind: str) -> Iterator[subprocess.Popen[bytes]]:
    kinds = KINDS[1:] if kind == "auto" else (kind,)
    with ExitStack() as stack:
        for each in kinds:
            try:
                starting = usermode.started(results) if each == "usermode" else qemu.started(results, each)
                running = stack.enter_context(starting)
                break
            except parts.MissingPart as exc:
                if each == kinds[-1]:
                    raise
                sys.stderr.write(f"vm: {exc}; {kinds[kinds.index(each) + 1]} is next\n")
        yield running


def _script(command: Sequence[str], env: Mapping[str, str]) -> str:
    given = {name: os.environ[name] for name in _KEPT if name in os.environ}
    given["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in {**given, **env}.items())
    return f"{exports}cd {shlex.quote(str(Path.cwd()))} && exec {shlex.join(command)}\n"
