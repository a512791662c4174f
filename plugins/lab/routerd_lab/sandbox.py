"""One user, PID, mount and network namespace around the whole lab, so that the lab leaves nothing behind.

Three processes: the *keeper* outside makes the namespaces and waits; *init* is process 1 inside,
reaps orphans and passes signals on; *main* does the work. When init ends the kernel kills
whatever runs in the PID namespace, and with the last process every device, address and rule goes.
No privilege is needed: the caller's own user becomes root inside (user_namespaces(7)).
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from routerd.errors import UnsupportedError
from routerd_lab import linux

_SANDBOX = (
    linux.CLONE_NEWNS | linux.CLONE_NEWPID | linux.CLONE_NEWNET | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC
)
_FORWARDED = (signal.SIGTERM, signal.SIGHUP)


def enter(main: Callable[[], int], *, started: Callable[[int], None], as_root: bool = False) -> int:
    """Run `main` in a sandbox of its own and return its exit status; the caller must have one thread.

    With `as_root` the caller, who must be root, keeps its user namespace: a few things, such as
    the kernel's foo-over-UDP listeners, are refused to the root of any other.

    `started` is called outside with the process id of the sandbox's init, as seen from outside.
    Ends the sandbox when the calling process dies, however it dies. Raises `UnsupportedError`
    when this machine grants no user namespaces.
    """
    uid, gid = os.getuid(), os.getgid()
    try:
        if as_root:
            linux.unshare(_SANDBOX)
        else:
            linux.unshare(_SANDBOX | linux.CLONE_NEWUSER)
            Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
            Path("/proc/self/uid_map").write_text(f"0 {uid} 1", encoding="ascii")
            Path("/proc/self/gid_map").write_text(f"0 {gid} 1", encoding="ascii")
    except OSError as exc:
        raise UnsupportedError(
            f"lab: user namespaces are needed; {exc.strerror}; check user.max_user_namespaces and "
            "kernel.apparmor_restrict_unprivileged_userns, or run as root"
        ) from exc
    keeper = os.getpid()
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        _exit_with(lambda: _init(main, write_end))
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        if pipe.read(1) != b"1":
            os.waitpid(child, 0)
            raise UnsupportedError(f"lab: the sandbox of process {keeper} cannot mount its own /proc")
    # A terminal's Ctrl-C reaches main directly, because it is in the same process group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _forward_to(child)
    started(child)
    return _wait_for(child)


def _init(main: Callable[[], int], ready: int) -> int:
    """Act as process 1 of the PID namespace until `main` ends."""
    linux.die_with_parent(signal.SIGKILL)
    linux.mount("none", Path("/"), flags=linux.MS_REC | linux.MS_PRIVATE)
    flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    linux.mount("proc", Path("/proc"), "proc", flags)
    os.write(ready, b"1")
    os.close(ready)
    child = os.fork()
    if child == 0:
        for number in (*_FORWARDED, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        _exit_with(main)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _forward_to(child)
    return _wait_for(child)


def _forward_to(child: int) -> None:
    """Pass the terminating signals on to `child`."""

    def forward(number: int, _frame: FrameType | None) -> None:
        os.kill(child, number)

    for number in _FORWARDED:
        signal.signal(number, forward)


def _wait_for(child: int) -> int:
    """Reap every process until `child` ends; return its exit status as a shell would."""
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            return 1
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _exit_with(work: Callable[[], int]) -> None:
    """Run `work` as the whole rest of a forked process, without the parent's clean-up."""
    status = 70
    try:
        status = work()
    except KeyboardInterrupt:
        status = 130
    except BaseException:  # noqa: BLE001 - the last frame of a process: print, then die with a status
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
