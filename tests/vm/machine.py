"""Runs one command in the machine and brings back its output, its exit status and its files."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.vm import parts, qemu

EXCHANGE = Path("/run/vm")
"""Where the machine sees the directory of results."""
STARTING = 120.0
"""Seconds that booting may take on top of the command's time; it takes some 5 on a quiet machine."""
TIMED_OUT, NO_STATUS = 124, 125
"""Exit statuses: as timeout(1) has them, and for a machine that ended without one."""

_GUEST = Path(__file__).with_name("guest.sh")
_KEPT = ("CI", "HOME", "LANG", "LC_ALL", "TERM", "USER")


def run(
    command: Sequence[str],
    *,
    results: Path,
    seconds: float = 1200,
    accelerator: str = "auto",
    env: Mapping[str, str] | None = None,
) -> int:
    """Run `command` as root in the current directory of the machine and return its exit status.

    `results` is made empty; the machine sees it as /run/vm, and the kernel's log is left in it as
    `console.log`. The machine reads the host's tree and cannot change it. It ends with the command,
    after `seconds`, and with this process. Raises `MissingPart`.
    """
    if shutil.which(qemu.EMULATOR) is None:
        raise parts.MissingPart(f"{qemu.EMULATOR} is not installed; `make system` installs it")
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir(parents=True)
    (results / "settings.sh").write_text(
        f"MODULES={shlex.quote(str(parts.find().modules))}\n"
        f"SECONDS_AT_MOST={int(seconds)}\nINTERACTIVE={int(sys.stdin.isatty())}\n",
        encoding="utf-8",
    )
    (results / "command.sh").write_text(_script(command, env or {}), encoding="utf-8")
    shutil.copy(_GUEST, results / "guest.sh")
    with qemu.started(results, accelerator=accelerator) as running:
        try:
            running.wait(seconds + STARTING)
        except subprocess.TimeoutExpired:
            return TIMED_OUT
    try:
        return int((results / "status").read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return NO_STATUS


def _script(command: Sequence[str], env: Mapping[str, str]) -> str:
    given = {name: os.environ[name] for name in _KEPT if name in os.environ}
    given["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in {**given, **env}.items())
    return f"{exports}cd {shlex.quote(str(Path.cwd()))} && exec {shlex.join(command)}\n"
