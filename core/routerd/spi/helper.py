"""The process at the other end of a Unix socket: a helper of a plugin that outlives the daemon.

Added in 1.0.
"""

import contextlib
import os
import signal
import socket
import struct
from pathlib import Path

import attrs


@attrs.frozen
class Helper:
    """A process that listens on a Unix socket; its number may be given to another, its `descriptor` never.

    `descriptor` is a pidfd, pidfd_open(2). Close it with `close`.

    Added in 1.0.
    """

    process: int
    descriptor: int

    @classmethod
    def behind(cls, connected: socket.socket) -> "Helper | None":
        """Return the process behind a connected socket (SO_PEERCRED, unix(7)).

        None when it has gone, or when it runs in another PID namespace.
        """
        credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        process, _, _ = struct.unpack("3i", credentials)
        try:
            return cls(process, os.pidfd_open(process))
        except OSError:
            return None

    def is_in_our_network(self) -> bool:
        """Say whether its network namespace is ours; also when nobody can tell."""
        own, its = (_namespace(each) for each in ("self", str(self.process)))
        return own is None or its is None or own == its

    def kill(self) -> None:
        """Send SIGKILL; a process that has gone is a success."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.descriptor, signal.SIGKILL)

    def close(self) -> None:
        """Close the descriptor; the process goes on."""
        os.close(self.descriptor)


def _namespace(process: str) -> tuple[int, int] | None:
    try:
        found = Path(f"/proc/{process}/ns/net").stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
