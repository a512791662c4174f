"""Runs one command in the machine and brings back its output, its exit status and its files."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.vm import hosttree, initramfs, parts

EMULATOR = "qemu-system-x86_64"
KERNEL_PARAMETERS = (
    "console=ttyS0 panic=-1 loglevel=5 random.trust_cpu=on mitigations=off audit=0 no_timer_check"
)
"""Panics end the emulator; what guards against other guests costs an emulated processor much."""
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
    memory: int = 4096,
    env: Mapping[str, str] | None = None,
) -> int:
    """Run `command` as root in the current directory of the machine and return its exit status.

    `results` is made empty; the machine sees it as /run/vm, and the kernel's log is left in it as
    `console.log`. `memory` is in MiB. The machine reads the host's tree and cannot change it. It
    ends with the command, after `seconds`, and with this process. Raises `MissingPart`.
    """
    if shutil.which(EMULATOR) is None:
        raise parts.MissingPart(f"{EMULATOR} is not installed; `make system` installs it")
    made = parts.find()
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir(parents=True)
    interactive = sys.stdin.isatty()
    (results / "settings.sh").write_text(
        f"MODULES={shlex.quote(str(made.modules))}\n"
        f"SECONDS_AT_MOST={int(seconds)}\nINTERACTIVE={int(interactive)}\n",
        encoding="utf-8",
    )
    (results / "command.sh").write_text(_script(command, env or {}), encoding="utf-8")
    shutil.copy(_GUEST, results / "guest.sh")
    with tempfile.TemporaryDirectory(prefix="routerd-vm-") as scratch:
        first = Path(scratch) / "initramfs.gz"
        first.write_bytes(initramfs.build(made))
        with hosttree.offered(Path(scratch), memory, results / "hosttree.log") as host:
            words = _emulator(made.kernel, first, results, memory, host, interactive=interactive)
            # An input at its end would make the emulator close the output too.
            with subprocess.Popen(words, stdin=None if interactive else subprocess.PIPE) as emulator:
                try:
                    emulator.wait(seconds + STARTING)
                except subprocess.TimeoutExpired:
                    return TIMED_OUT
                finally:
                    emulator.kill()
    try:
        return int((results / "status").read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return NO_STATUS


def _script(command: Sequence[str], env: Mapping[str, str]) -> str:
    given = {name: os.environ[name] for name in _KEPT if name in os.environ}
    given["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in {**given, **env}.items())
    return f"{exports}cd {shlex.quote(str(Path.cwd()))} && exec {shlex.join(command)}\n"


def _emulator(
    kernel: Path, first: Path, results: Path, memory: int, host: hosttree.Offer, *, interactive: bool
) -> list[str]:
    signals, terminal = ("off", "virtconsole") if interactive else ("on", "virtserialport,nr=1")
    return [
        # However this process ends, the emulator ends with it.
        *("setpriv", "--pdeathsig", "KILL", "--"),
        EMULATOR,
        *("-accel", "tcg,thread=multi,tb-size=1024", "-cpu", "max", "-smp", "2", "-m", str(memory)),
        *("-nodefaults", "-no-user-config", "-no-reboot", "-nic", "none", "-display", "none"),
        *("-kernel", str(kernel), "-initrd", str(first)),
        *("-append", f"{KERNEL_PARAMETERS} {host.parameter}"),
        *("-serial", f"file:{results / 'console.log'}"),
        *("-chardev", f"stdio,id=terminal,signal={signals}"),
        *("-device", "virtio-serial-pci", "-device", f"{terminal},chardev=terminal"),
        *host.options,
        *hosttree.nine_p(results, "exchange"),
    ]
