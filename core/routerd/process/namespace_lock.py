"""One routerd in a network namespace, whatever its directories are.

Two of them would delete each other's routes, tunnels and rules. A file cannot tell, because the other
one may have a state directory and a mount namespace of its own. An abstract Unix socket (unix(7)) belongs
to the network namespace and goes with its process.

What complicates this:

- Everybody may bind such a name. A holder that runs as another user must not stop us.
- A foreign holder need not listen, or may keep its queue full, so that no connection tells its user. A
  routerd listens a moment after it has bound the name, so only a lasting refusal tells a foreign holder.
"""

import errno
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from routerd.errors import ControlError
from routerd.spi import Logger

NAME = b"\0routerd.net/lock"

PATIENCE = 1.0
"""Seconds in which a routerd that has bound the name begins to listen."""

_NOT_LISTENING = (errno.ECONNREFUSED, errno.EPROTOTYPE)


@contextmanager
def only_one_here(log: Logger) -> Iterator[None]:
    """Hold the lock of this network namespace; `ControlError` names the process that holds it.

    A holder that runs as another user, or that does not listen, stops nobody; the log names it.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as held:
        try:
            held.bind(NAME)
            held.listen(1)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise ControlError(f"the lock of this network namespace: {error.strerror}") from error
            holder, is_ours = _holder()
            if is_ours:
                raise ControlError(
                    f"this network namespace: routerd runs here already, {holder}; two would delete each "
                    "other's routes and tunnels; stop it first"
                ) from error
            log.warning("lock.foreign", held_by=holder)
        yield


def _holder() -> tuple[str, bool]:
    """Return the process that holds the lock, in words, and whether it may be a routerd of our user."""
    end = time.monotonic() + PATIENCE
    while True:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as asking:
            asking.settimeout(PATIENCE)
            try:
                asking.connect(NAME)
            except OSError as error:
                if error.errno in _NOT_LISTENING:
                    if time.monotonic() < end:
                        time.sleep(PATIENCE / 20)
                        continue
                    return "a process that does not listen", False
                return _by_inode()
            credentials = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        process, user, _ = struct.unpack("3i", credentials)
        words = f"process {process}" if process else "in another PID namespace"
        return words, user == os.geteuid()


def _by_inode() -> tuple[str, bool]:
    """Return the holder by the table of sockets, proc(5); one that nobody finds counts as ours."""
    try:
        lines = Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    name = "@" + NAME[1:].decode()
    inodes = {f"socket:[{words[6]}]" for line in lines if (words := line.split())[-1:] == [name]}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(each.readlink()) in inodes for each in (process / "fd").iterdir()):
                return f"process {process.name}", process.stat().st_uid == os.geteuid()
        except OSError:
            continue  # it has ended, or is not ours to look at
    return "a process that does not answer", True
