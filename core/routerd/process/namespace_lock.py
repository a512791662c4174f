"""One routerd in a network namespace, whatever its directories are.

Two of them would delete each other's routes, tunnels and rules. A file cannot tell, because the other
one may have a state directory and a mount namespace of its own. An abstract Unix socket (unix(7)) belongs
to the network namespace and goes with its process.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from routerd.errors import ControlError
from routerd.spi import Logger

NAME = b"\0routerd.net/lock"


@contextmanager
def only_one_here(log: Logger) -> Iterator[None]:
    """Hold the lock of this network namespace; `ControlError` names the process that holds it.

    Everybody may bind such a name. So a holder that runs as another user stops nobody; the log names it.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as held:
        try:
            held.bind(NAME)
            held.listen(1)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise ControlError(f"the lock of this network namespace: {error.strerror}") from error
            process, user = _holder()
            if user is None or user == os.geteuid():
                raise ControlError(
                    f"this network namespace: routerd runs here already, {process}; two would delete each "
                    "other's routes and tunnels; stop it first"
                ) from error
            log.warning("lock.foreign", held_by=process, user=user)
        yield


def _holder() -> tuple[str, int | None]:
    """Return the process that holds the lock, in words, and its user; no user when nobody says."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as asking:
        asking.settimeout(1.0)
        try:
            asking.connect(NAME)
            credentials = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError:
            return "a process that does not answer", None
    process, user, _ = struct.unpack("3i", credentials)
    return (f"process {process}" if process else "in another PID namespace"), user
