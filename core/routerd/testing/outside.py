"""The calls of code under test to the world outside of its process, one of which fails.

A call is what Python audits (an opened file, a connection, a started process), and each method of a
`FakeKernel`. Only the calls of the code inside `failing` count, its threads of `asyncio.to_thread` included:
tasks that were started before have a context of their own.

Added in 1.0.
"""

from __future__ import annotations

import errno
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from routerd.errors import ProviderError
from routerd.testing.faults import FaultPlan

_EVENTS = frozenset({
    "open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.link", "os.symlink",
    "os.truncate", "fcntl.flock", "socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg",
    "socket.getaddrinfo", "subprocess.Popen",
})  # fmt: skip

_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_CODE = (".py", ".pyc", ".so")

_PLAN: ContextVar[FaultPlan | None] = ContextVar("plan", default=None)
_WATCHING: list[bool] = []
"""Not empty once the audit hook is there; nothing removes one."""


def reach(name: str) -> None:
    """Count a call that Python does not audit; raises `ProviderError` when it is the one that fails."""
    plan = _PLAN.get()
    if plan is not None:
        plan.reach(name)


@contextmanager
def failing(plan: FaultPlan) -> Iterator[None]:
    """Let the calls of the block reach `plan`; an audited call that fails raises `OSError` (EIO)."""
    if not _WATCHING:
        sys.addaudithook(_watch)
        _WATCHING.append(True)
    token = _PLAN.set(plan)
    try:
        yield
    finally:
        _PLAN.reset(token)


def _watch(event: str, args: tuple[object, ...]) -> None:
    if event not in _EVENTS:
        return
    plan = _PLAN.get()
    if plan is None or (event == "open" and _is_of_python(args[0])):
        return
    try:
        plan.reach(f"{event} {args[0]!s:.200}")
    except ProviderError as error:
        raise OSError(errno.EIO, str(error)) from error


def _is_of_python(path: object) -> bool:
    """Say whether a file is a module or belongs to a library, which no fault of the world takes away."""
    text = path.decode(errors="replace") if isinstance(path, bytes) else str(path)
    return text.endswith(_CODE) or text.startswith(_LIBRARIES)
