"""Whose code runs: the plugin and the place of what is on a stack, for messages that blame somebody."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import thread as workers
from threading import Thread
from types import FrameType


def of_thread(ident: int | None) -> FrameType | None:
    """Return the innermost frame of a thread that runs."""
    if ident is None:
        return None
    return sys._current_frames().get(ident)  # noqa: SLF001 - documented, and the only way


def outwards(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield a frame and those that called it."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def raised_by(error: BaseException) -> Iterator[FrameType]:
    """Return the frames that an error has passed, the innermost first."""
    frames = []
    trace = error.__traceback__
    while trace is not None:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    return reversed(frames)


def owner(frames: Iterator[FrameType], plugins: Mapping[str, str]) -> tuple[str, str]:
    """Return the plugin of the innermost frame of one, and the place; the core's own code has none.

    `plugins` has the name of the plugin by its top-level package.
    """
    first = ""
    for frame in frames:
        first = first or _place(frame)
        root = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if root in plugins:
            return plugins[root], _place(frame)
    return "", first


def described(threads: Iterable[Thread], plugins: Mapping[str, str]) -> str:
    """Return the names of the threads that keep the process, each with its plugin and its place.

    A thread that waits for work of an event loop ends with the interpreter.
    """
    found = []
    for thread in threads:
        frame = of_thread(thread.ident)
        if frame is not None and not thread.daemon and not _is_idle(frame):
            plugin, where = owner(outwards(frame), plugins)
            found.append(f"{thread.name}{f' (plugin {plugin})' if plugin else ''} at {where}")
    return ", ".join(found)


def _is_idle(frame: FrameType) -> bool:
    return (frame.f_code.co_filename, frame.f_code.co_name) == (workers.__file__, "_worker")


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
