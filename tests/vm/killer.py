"""Runs `routerd apply --once` again and again in one node, killed at a chosen write: not a test itself.

Importing routerd takes an emulated processor ten seconds, so one process imports it and forks. It
reads how far to go from its input, a number of writes in a line, 0 for to the end, and answers with
the exit status. A write is a netlink request other than a dump, the start of a program, or the
write of a file.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# The commands load these when they run, and that must not be in each fork.
import routerd.cli.act.apply
import routerd.cli.act.down
import routerd.cli.look.status_tables
import routerd.runtime.daemon
import routerd.runtime.single_runs
from routerd.cli.main import main as routerd

_CLONE_NEWNET = 0x40000000
_NLM_F_DUMP = 0x300


def main() -> None:
    """Serve one node: NODE and the arguments of `routerd`."""
    node, *arguments = sys.argv[1:]
    with Path(f"/run/netns/{node}").open() as namespace:
        if ctypes.CDLL(None).setns(namespace.fileno(), _CLONE_NEWNET):
            sys.exit(f"{node}: there is no such namespace")
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _run(arguments, int(line))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _run(arguments: list[str], limit: int) -> None:
    log = os.open("/run/killer.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if limit:
        _watch(limit)
    sys.argv = ["routerd", *arguments]
    status = 70
    try:
        routerd()
        status = 0
    except SystemExit as exc:
        status = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    finally:
        os._exit(status)


def _watch(limit: int) -> None:
    """Let the process die in place of its write number `limit`."""
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        if done == limit:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(method: Callable[..., Any], data: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: socket.socket, *args: Any, **options: Any) -> Any:
            if self.family == socket.AF_NETLINK and not _is_dump(bytes(data(*args))):
                count()
            return method(self, *args, **options)

        return call

    socket.socket.send = counted(socket.socket.send, lambda data, *_: data)  # type: ignore[method-assign]
    socket.socket.sendto = counted(socket.socket.sendto, lambda data, *_: data)  # type: ignore[method-assign]
    start, write = asyncio.create_subprocess_exec, Path.write_text

    async def started(*args: Any, **options: Any) -> Any:
        count()
        return await start(*args, **options)

    def written(self: Path, *args: Any, **options: Any) -> int:
        count()
        return write(self, *args, **options)

    asyncio.create_subprocess_exec = started
    Path.write_text = written  # type: ignore[method-assign]


def _is_dump(message: bytes) -> bool:
    _, _, flags = struct.unpack_from("=IHH", message)
    return flags & _NLM_F_DUMP == _NLM_F_DUMP


if __name__ == "__main__":
    main()
