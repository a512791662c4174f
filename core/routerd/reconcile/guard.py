"""The one way into a plugin: each call has a name, a deadline and a task of its own.

Whatever a plugin raises (SystemExit and a leaked CancelledError too), and however long it takes, stays
with the call. A call that is deaf to its cancellation is left behind: its task keeps running, and the caller
goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Literal, TypeVar

import attrs

from routerd.errors import ProviderError, StoreError, TransientError
from routerd.spi import Logger

T = TypeVar("T")

Call = Literal["observe", "apply", "ask"]

_DEFECTS: Mapping[Call, str] = {
    "observe": "table.observe.defect",
    "apply": "table.apply.defect",
    "ask": "provider.defect",
}

GRACE = 1.0
"""Seconds that a cancelled call has to end before it is left behind."""

_LEFT: set[asyncio.Task[Any]] = set()
"""The calls that were left behind, of every loop; Python collects a waiting task without a reference."""


class Broken(TransientError):
    """A provider did not answer, or raised or returned what its contract does not know."""


class Unanswered(Broken):
    """A provider did not answer within its deadline, or has not answered an earlier call."""


@attrs.frozen
class Failed:
    """A call without an answer: what it raised, or none when it did not end within its deadline."""

    error: BaseException | None


async def outcome_of(
    begin: Callable[[], Awaitable[T]],
    *,
    name: str,
    deadline: float | None,
    grace: float = GRACE,
    left: set[asyncio.Task[Any]] | None = None,
) -> T | Failed:
    """Return what a call of a plugin returns within `deadline` seconds, or why there is no answer.

    Raises only the `CancelledError` of the caller. `name` is the task's: what is called, and whose it is.
    `left` holds the task while it is left behind.
    """
    # A task of its own: the call may end it, and nothing else, by whatever it raises.
    task = asyncio.create_task(_outcome(begin), name=name)
    try:
        done, _ = await asyncio.wait({task}, timeout=deadline)
    except asyncio.CancelledError:
        await _end(task, grace, left)
        raise
    if not done:
        await _end(task, grace, left)
        return Failed(None)
    if task.cancelled():
        return Failed(asyncio.CancelledError())
    return task.result()


async def _end(
    task: asyncio.Task[Any],  # Any: of every call
    grace: float,
    left: set[asyncio.Task[Any]] | None,
) -> None:
    task.cancel()
    try:
        await asyncio.wait({task}, timeout=grace)
    finally:
        if not task.done():
            for kept in (_LEFT, left) if left is not None else (_LEFT,):
                kept.add(task)
                task.add_done_callback(kept.discard)


async def _outcome(begin: Callable[[], Awaitable[T]]) -> T | Failed:
    """Return what a call returns or raises; a task that raised SystemExit would end the event loop."""
    try:
        return await begin()
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return Failed(error)
    except BaseException as error:  # noqa: BLE001 - SystemExit too: a plugin must not end the daemon
        return Failed(error)


def left_behind() -> list[str]:
    """Return the names of the calls that were left behind and have not ended yet."""
    return sorted(task.get_name() for task in _left_here())


def disown(*owners: str) -> None:
    """Let calls of these tables and providers be made again: those left behind are of a replaced provider."""
    for task in _left_here():
        name = task.get_name()
        if name.startswith(tuple(f"{owner}: " for owner in owners)):
            task.set_name(f"{name}, replaced")


def _left_here() -> list[asyncio.Task[Any]]:  # Any: of every call
    loop = asyncio.get_running_loop()
    return [task for task in _LEFT if task.get_loop() is loop]


def of_plugin(what: str, plugin: str) -> str:
    """Return `what` with the plugin that it belongs to; the core's own parts belong to none."""
    return f"{what} (plugin {plugin})" if plugin else what


async def asked(
    begin: Callable[[], Awaitable[T]],
    *,
    log: Logger,
    table: str,
    call: Call,
    deadline: float | None,
    plugin: str = "",
    what: str = "",
) -> T:
    """Return the answer of a provider; raise only `ProviderError`.

    `table` names the table or provider, `what` the method where that is not `call`. While an earlier call
    of the same name is left behind, nothing is called: a provider expects one call at a time.
    """
    name = of_plugin(f"{table}: {what or call}", plugin)
    if name in left_behind():
        raise Unanswered(f"an earlier call of {what or call} does not end; restart routerd to end it")
    found = await outcome_of(begin, name=name, deadline=deadline)
    if not isinstance(found, Failed):
        return found
    facts: dict[str, object] = {"plugin": plugin} if plugin else {}
    if found.error is None:
        if name in left_behind():
            log.error("call.left", table=table, call=what or call, **facts)
        raise Unanswered(f"no answer within {deadline or 0:g} s")
    raise _failure(found.error, log, call, table, facts) from found.error


@contextmanager
def contained(log: Logger, *, table: str, call: Call, plugin: str = "") -> Iterator[None]:
    """Run synchronous code of a plugin; raise only `ProviderError`."""
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _failure(error, log, call, table, {"plugin": plugin} if plugin else {}) from error


def _failure(
    error: BaseException, log: Logger, call: Call, table: str, facts: Mapping[str, object]
) -> ProviderError:
    if isinstance(error, ProviderError) and _is_sound(error):
        return error
    if isinstance(error, StoreError):
        # The disk is at fault, not the table; a retry succeeds once the disk has room.
        return TransientError(str(error))
    log.error(_DEFECTS[call], table=table, error=_repr(error), trace=error, **facts)
    return Broken(f"unexpected {_repr(error)}")


def _is_sound(error: ProviderError) -> bool:
    """Say whether an error of a plugin has a text and a pause that the loop can work with."""
    try:
        str(error)
    except Exception:  # noqa: BLE001 - foreign code
        return False
    return error.retry_after is None or isinstance(error.retry_after, timedelta)


def _repr(error: object) -> str:
    try:
        return repr(error)
    except Exception:  # noqa: BLE001 - an exception of foreign code may have a broken text
        return type(error).__name__


def content_of(answer: object) -> Mapping[Hashable, object]:
    """Return the answer of `observe`; `TypeError` when it is not a mapping."""
    if not isinstance(answer, Mapping):
        raise TypeError(f"observe returned {answer!r}, not a mapping")
    return answer


def failures_of(answer: object) -> Mapping[Hashable, ProviderError]:
    """Return the answer of `apply`; `TypeError` when it is not a mapping of keys to `ProviderError`."""
    if not isinstance(answer, Mapping):
        raise TypeError(f"apply returned {answer!r}, not a mapping of failures")
    for key, error in answer.items():
        if not isinstance(error, ProviderError) or not _is_sound(error):
            raise TypeError(f"apply returned {_repr(error)} for {key}, not a ProviderError")
    return answer


def sequence_of(kind: type[T], answer: object) -> tuple[T, ...]:
    """Return an answer that is a sequence of `kind`; `TypeError` when it is something else."""
    if not isinstance(answer, (list, tuple)):
        raise TypeError(f"it returned a {type(answer).__name__}, not a sequence of {kind.__name__}")
    for item in answer:
        if not isinstance(item, kind):
            raise TypeError(f"it returned a {type(item).__name__} among its {kind.__name__}s")
    return tuple(answer)
