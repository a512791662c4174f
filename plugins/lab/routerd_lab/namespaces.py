"""The lab's machines: a network, mount and UTS namespace each, held open by one sleeping process.

A machine sees the host's files, with directories of its own where it must differ: `/run` is
empty, and below `/etc`, `/var/lib` or wherever `files` and `binds` point, the lab's files stand
in for the host's. What runs in a machine is started through `nsenter`.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import attrs

from routerd.errors import RouterdError
from routerd_lab import linux
from routerd_lab.patience import patient

_HELD = Path("/run/host")
_COMMAND_SECONDS = 20.0


class LabError(RouterdError):
    """The lab cannot be built or kept running; the text names the machine and the step."""


@attrs.frozen(kw_only=True)
class MachineSpec:
    """A machine to make.

    `sysctls` are paths below /proc/sys with their values, set before any device exists so that
    `conf.default` counts. `files` are small files by absolute path; `binds` directories of the
    host by the absolute path under which the machine sees them.
    """

    name: str
    sysctls: Mapping[str, str] = attrs.field(factory=dict)
    files: Mapping[Path, str] = attrs.field(factory=dict)
    binds: Mapping[Path, Path] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Result:
    """How a command ended, and its output."""

    status: int
    out: str
    err: str


@attrs.frozen(kw_only=True)
class Machine:
    """A machine that exists; `pid` is the process that holds its namespaces."""

    name: str
    pid: int

    def argv(self, *command: str) -> list[str]:
        """Return the command line that runs `command` in the machine."""
        return ["nsenter", "-t", str(self.pid), "-n", "-m", "-u", "--", *command]

    def path(self, path: str) -> Path:
        """Return the path by which a process outside the machine opens one of its files."""
        return Path(f"/proc/{self.pid}/root{path}")

    async def execute(self, *command: str, text: str = "", seconds: float = _COMMAND_SECONDS) -> Result:
        """Run a short command with `text` as its input; raises `LabError` if it takes too long."""
        process = await asyncio.create_subprocess_exec(
            *self.argv(*command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        allowed = patient(seconds)
        try:
            async with asyncio.timeout(allowed):
                out, err = await process.communicate(text.encode())
        except TimeoutError as exc:
            raise LabError(f"{self.name}: {' '.join(command)}: did not end within {allowed:.0f} s") from exc
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return Result(
            status=process.returncode or 0,
            out=out.decode(errors="replace"),
            err=err.decode(errors="replace"),
        )

    async def run(self, *command: str, text: str = "") -> str:
        """Run a short command and return its output; raises `LabError` with the error output if it fails."""
        result = await self.execute(*command, text=text)
        if result.status:
            said = result.err.strip() or result.out.strip()
            raise LabError(f"{self.name}: {' '.join(command)}: exit status {result.status}; {said}")
        return result.out


def make_machine(spec: MachineSpec) -> Machine:
    """Make a machine by forking its holder; call this before the process has a second thread."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        _hold(spec, write_end)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        said = pipe.read()
    if said != b"ready":
        os.waitpid(child, 0)
        raise LabError(f"{spec.name}: cannot make the machine; {said.decode(errors='replace')}")
    return Machine(name=spec.name, pid=child)


def _hold(spec: MachineSpec, pipe: int) -> None:
    """Set the namespaces up in the forked process, then sleep in them until the process is killed."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        linux.unshare(linux.CLONE_NEWNET | linux.CLONE_NEWNS | linux.CLONE_NEWUTS)
        linux.set_hostname(spec.name)
        linux.mount("none", Path("/"), flags=linux.MS_REC | linux.MS_PRIVATE)
        _furnish(spec)
        for name, value in spec.sysctls.items():
            setting = Path("/proc/sys", name)
            if setting.exists():  # a kernel without IPv6 does not need its settings
                setting.write_text(value, encoding="ascii")
        os.write(pipe, b"ready")
        os.set_inheritable(pipe, False)
        os.execvp("sleep", ["sleep", "infinity"])  # noqa: S606 - becoming `sleep` is the point
    except OSError as exc:
        os.write(pipe, f"{exc.strerror} {exc.filename or ''}".strip().encode())
    finally:
        os._exit(1)


def _furnish(spec: MachineSpec) -> None:
    """Give the machine an empty /run, its own sysfs where allowed, its files and its binds."""
    linux.mount("tmpfs", Path("/run"), "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755")
    for name in ("lock", "netns", "sshd"):
        Path("/run", name).mkdir()
    # The kernel refuses it where the caller's own /sys is partly masked; the lab does not need it.
    with contextlib.suppress(OSError):
        linux.mount("sysfs", Path("/sys"), "sysfs", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    shadowed: set[Path] = set()
    for path in (*spec.files, *spec.binds):
        _make_room(path, shadowed)
    for path, text in spec.files.items():
        path.unlink(missing_ok=True)
        path.write_text(text, encoding="utf-8")
    for path, source in spec.binds.items():
        if path.is_symlink():
            path.unlink()
        path.mkdir(exist_ok=True)
        linux.mount(str(source), path, flags=linux.MS_BIND)


def _make_room(path: Path, shadowed: set[Path]) -> None:
    """Make the directory of `path` writable without touching the host's: a tmpfs full of links."""
    parent = path.parent
    if parent == Path("/run") or parent in shadowed:
        return
    existing = next(candidate for candidate in (parent, *parent.parents) if candidate.is_dir())
    if existing not in shadowed and not existing.is_relative_to("/run"):
        _shadow(existing)
        shadowed.add(existing)
    parent.mkdir(parents=True, exist_ok=True)
    shadowed.add(parent)


def _shadow(directory: Path) -> None:
    """Cover `directory` with a tmpfs in which every entry of the original is a link to it."""
    held = _HELD / str(directory).strip("/").replace("/", "_")
    held.mkdir(parents=True)
    linux.mount(str(directory), held, flags=linux.MS_BIND)
    linux.mount("tmpfs", directory, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755")
    with os.scandir(held) as entries:
        for entry in entries:
            # A relative link such as ../usr/lib/os-release must stay relative to its old place.
            target = Path(entry.path).readlink() if entry.is_symlink() else Path(entry.path)
            Path(directory, entry.name).symlink_to(target)
