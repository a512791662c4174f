"""The emulated machine: Debian's own kernel in QEMU, by hardware virtualisation where a guest boots on it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.vm import hosttree, initramfs, parts
from tests.vm.parts import MissingPart

EMULATOR = "qemu-system-x86_64"
MEMORY = 4096
"""MiB."""
KERNEL_PARAMETERS = (
    "console=ttyS0 panic=-1 loglevel=5 random.trust_cpu=on mitigations=off audit=0 no_timer_check"
)
"""Panics end the emulator; what guards against other guests costs an emulated processor much."""
ACCELERATORS = {
    "kvm": ("-accel", "kvm", "-cpu", "host"),
    "tcg": ("-accel", "tcg,thread=multi,tb-size=1024", "-cpu", "max"),
}
PROBING = 6.0
"""Seconds in which a guest on /dev/kvm must be up. There are machines on which it never prints a line."""


@contextmanager
def started(results: Path, accelerator: str) -> Iterator[subprocess.Popen[bytes]]:
    """Boot the machine, which ends with the context; `results` is complete. Raises `MissingPart`."""
    if accelerator == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        raise MissingPart("there is no /dev/kvm that we may use")
    if shutil.which(EMULATOR) is None:
        raise MissingPart(f"{EMULATOR} is not installed; `make system` installs it")
    made = parts.find()
    with (results / "settings.sh").open("a", encoding="utf-8") as settings:
        settings.write(f"MODULES={shlex.quote(str(made.modules))}\n")
        settings.write(f"TERMINAL={'/dev/hvc0' if sys.stdin.isatty() else '/dev/vport0p1'}\n")
    with tempfile.TemporaryDirectory(prefix="routerd-vm-") as scratch:
        # Read once, as the emulator starts.
        first = Path(scratch) / "initramfs.gz"
        first.write_bytes(initramfs.build(made))
        with _booted(made.kernel, first, results, accelerator) as emulator:
            if accelerator == "kvm" and not _is_up(emulator, results):
                raise MissingPart(f"no guest boots on /dev/kvm in {PROBING:g} s")
            yield emulator


def _is_up(emulator: subprocess.Popen[bytes], results: Path) -> bool:
    deadline = time.monotonic() + PROBING
    while time.monotonic() < deadline and emulator.poll() is None:
        if (results / "up").exists():
            return True
        time.sleep(0.05)
    return (results / "up").exists()


@contextmanager
def _booted(kernel: Path, first: Path, results: Path, accelerator: str) -> Iterator[subprocess.Popen[bytes]]:
    interactive = sys.stdin.isatty()
    with (
        tempfile.TemporaryDirectory(prefix="routerd-vm-") as scratch,
        hosttree.offered(Path(scratch), MEMORY, results / "hosttree.log") as host,
        (results / f"{accelerator}.log").open("wb") as said,
    ):
        words = _emulator(kernel, first, results, host, accelerator, interactive=interactive)
        # An input at its end would make the emulator close the output too.
        with subprocess.Popen(words, stdin=None if interactive else subprocess.PIPE, stderr=said) as emulator:
            try:
                yield emulator
            finally:
                emulator.kill()


def _emulator(
    kernel: Path, first: Path, results: Path, host: hosttree.Offer, accelerator: str, *, interactive: bool
) -> list[str]:
    signals, terminal = ("off", "virtconsole") if interactive else ("on", "virtserialport,nr=1")
    return [
        # However this process ends, the emulator ends with it.
        *("setpriv", "--pdeathsig", "KILL", "--"),
        EMULATOR,
        *ACCELERATORS[accelerator],
        *("-smp", "2", "-m", str(MEMORY)),
        *("-nodefaults", "-no-user-config", "-no-reboot", "-nic", "none", "-display", "none"),
        *("-kernel", str(kernel), "-initrd", str(first)),
        *("-append", f"{KERNEL_PARAMETERS} {host.parameter}"),
        *("-serial", f"file:{results / 'console.log'}"),
        *("-chardev", f"stdio,id=terminal,signal={signals}"),
        *("-device", "virtio-serial-pci", "-device", f"{terminal},chardev=terminal"),
        *host.options,
        *hosttree.nine_p(results, "exchange"),
    ]
