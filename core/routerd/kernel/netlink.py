"""One way to ask rtnetlink: with a deadline, dumps repeated when interrupted, errors translated."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkDumpInterrupted, NetlinkError

from routerd.errors import PermanentError, ProviderError, TransientError, UnsupportedError

DEADLINE = 5.0
"""Seconds for one exchange; the kernel answers in microseconds unless the RTNL lock is stuck."""

_DUMP_ATTEMPTS = 5
_PERMANENT = frozenset({errno.EPERM, errno.EACCES, errno.EINVAL, errno.ERANGE, errno.EADDRINUSE})

T = TypeVar("T")
Request = Callable[[AsyncIPRoute], Awaitable[T]]


async def ask(what: str, request: Request[T]) -> T:
    """Run `request` on a socket of its own and return its result.

    `what` begins the error text. Raises `TransientError`, `PermanentError`, `UnsupportedError`;
    a `NetlinkError` whose errno means something to the caller is found as the `__cause__`.
    """
    for attempt in range(_DUMP_ATTEMPTS):
        try:
            async with asyncio.timeout(DEADLINE):
                async with AsyncIPRoute() as socket:
                    return await request(socket)
        except NetlinkDumpInterrupted:
            # NLM_F_DUMP_INTR: something changed while we read, so the answer may be torn.
            if attempt == _DUMP_ATTEMPTS - 1:
                break
        except TimeoutError as exc:
            raise TransientError(f"{what}: the kernel did not answer within {DEADLINE:g} s") from exc
        except NetlinkError as exc:
            raise translate(what, exc.code) from exc
        except OSError as exc:
            raise translate(what, exc.errno or 0) from exc
    raise TransientError(f"{what}: the dump was interrupted {_DUMP_ATTEMPTS} times in a row")


async def collect(answer: Any) -> list[Any]:  # noqa: ANN401 - pyroute2 messages are untyped
    """Return all messages of a dump."""
    return [message async for message in answer]


def errno_of(error: ProviderError) -> int:
    """Return the errno that `error` was translated from, 0 for none."""
    cause = error.__cause__
    if isinstance(cause, NetlinkError):
        return int(cause.code)
    return (cause.errno or 0) if isinstance(cause, OSError) else 0


def translate(what: str, code: int) -> ProviderError:
    """Return our error for an errno of netlink."""
    text = f"{what}: {os.strerror(code).lower()} ({errno.errorcode.get(code, code)})"
    if code == errno.EOPNOTSUPP:
        return UnsupportedError(f"{text}; this kernel lacks the module")
    if code == errno.EPERM:
        return PermanentError(f"{text}; routerd needs CAP_NET_ADMIN")
    if code in _PERMANENT:
        return PermanentError(text)
    return TransientError(text)
