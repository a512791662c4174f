"""The machine without an emulator: the kernel of Debian's sources as a process of the host (User-mode Linux).

It runs the programs of the host's tree on the host's own processor. Every system call and every fault goes
through ptrace(2), which makes a Python start some five times slower than on the host; an emulated
processor makes it twenty to thirty times slower. There is one processor in it, and no module of a device.

The kernel is built once for each version of the sources and of `usermode.config`, into the user's cache.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
from tests.vm import parts

SOURCES = "linux-source"
"""A metapackage; what it depends on has the sources as an archive below /usr/src."""
MEMORY = 4096
"""MiB. The host gives a page when it is first written."""
KERNEL_PARAMETERS = (
    "panic=-1",
    "loglevel=5",
    "random.trust_cpu=on",
    "rootfstype=hostfs",
    "rootflags=/",
)
"""Its random numbers come from the host's, and must count: without that programs wait minutes for them."""

_CONFIG = Path(__file__).with_name("usermode.config")
_INIT = Path(__file__).with_name("usermode_init.sh")
_PROGRAM = "linux"
# Their sources are half of the archive, and nothing of them is built.
_NOT_UNPACKED = ("drivers/gpu", "drivers/media", "drivers/net/ethernet", "drivers/net/wireless", "sound")


@attrs.frozen(kw_only=True)
class Kernel:
    """Paths of the host. `modules` is the directory to mount as /lib/modules."""

    program: Path
    modules: Path


def kernel() -> Kernel:
    """Return the kernel, building it when it is not in the cache. Raises `MissingPart`."""
    package = parts.depended_on(SOURCES)
    key = hashlib.sha256(_CONFIG.read_bytes() + parts.version(package).encode()).hexdigest()[:12]
    home = parts.cache() / f"usermode-{key}"
    if not home.is_dir():
        home.parent.mkdir(parents=True, exist_ok=True)
        with (home.parent / "usermode.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not home.is_dir():
                _build(package, home)
    return Kernel(program=home / _PROGRAM, modules=home / "lib" / "modules")


def _build(package: str, home: Path) -> None:
    sys.stderr.write(f"vm: building the user-mode kernel of {package}, once; some minutes ...\n")
    with tempfile.TemporaryDirectory(dir=home.parent, prefix="building-") as scratch:
        made = Path(scratch) / "made"
        archive = next((parts.fetched(package, Path(scratch)) / "usr/src").rglob(f"{package}.tar.*"), None)
        if archive is None:
            raise parts.MissingPart(f"{package} has no archive of sources in /usr/src")
        excluded = [f"--exclude=*/{name}/*.[ch]" for name in _NOT_UNPACKED]
        parts.run("tar", "-xf", str(archive), "-C", scratch, *excluded)
        sources = Path(scratch) / package
        make = ("make", "-s", "-C", str(sources), "ARCH=um")
        parts.run("env", f"KCONFIG_ALLCONFIG={_CONFIG}", *make, "allnoconfig")
        parts.run(*make, f"-j{os.cpu_count() or 1}", _PROGRAM, "modules")
        parts.run(*make, f"INSTALL_MOD_PATH={made}", "modules_install")
        for link in made.glob("lib/modules/*/*"):
            if link.is_symlink():
                link.unlink()
        shutil.copy(sources / _PROGRAM, made / _PROGRAM)
        made.rename(home)


@contextmanager
def started(results: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Boot the machine, which ends with the context; `results` is complete. Raises `MissingPart`."""
    made = kernel()
    _tell(results, made)
    with (
        tempfile.TemporaryDirectory(prefix="routerd-vm-") as scratch,
        (results / "console.log").open("wb") as console,
        (results / "usermode.log").open("wb") as said,
    ):
        interactive = sys.stdin.isatty()
        terminal = os.dup(1)
        try:
            words = _words(made.program, results, Path(scratch), terminal, interactive=interactive)
            with subprocess.Popen(
                words,
                stdin=None if interactive else subprocess.DEVNULL,
                stdout=console,
                stderr=said,
                pass_fds=(terminal,),
            ) as running:
                try:
                    yield running
                finally:
                    running.kill()
        finally:
            os.close(terminal)


def _tell(results: Path, made: Kernel) -> None:
    with (results / "settings.sh").open("a", encoding="utf-8") as settings:
        settings.write(f"MODULES={shlex.quote(str(made.modules))}\nTERMINAL=/dev/tty1\n")


def _words(program: Path, results: Path, scratch: Path, terminal: int, *, interactive: bool) -> list[str]:
    own = [] if os.geteuid() == 0 else ["--map-root-user"]
    return [
        # However this process ends, the machine ends with it, and all its processes with their own process 1.
        *("setpriv", "--pdeathsig", "KILL", "--", "unshare", *own, "--pid", "--fork", "--kill-child"),
        # It ends by a signal to itself, and process 1 of a namespace does not take one.
        *("sh", "-c", '"$@"; exit $?', "sh"),
        *("env", f"TMPDIR={_memory()}", str(program), *KERNEL_PARAMETERS, "ro", f"mem={MEMORY}M"),
        *(f"uml_dir={scratch}", f"init={_INIT}", f"RESULTS={results.absolute()}"),
        *("con=null", "con0=null,fd:1", f"con1={'fd:0' if interactive else 'null'},fd:{terminal}"),
    ]


def _memory() -> str:
    """Return where the machine's memory may be a file: it is executed from there."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()
