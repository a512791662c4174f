"""The Unix socket of a relay, on which the daemon finds it. This module imports only the standard library."""

import contextlib
import os
import socket


class Listener:
    """The Unix socket of the relay; only its own user may open it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._identity = (0, 0)
        self.socket = self._listen()

    def accept(self) -> socket.socket:
        """Return the next client."""
        client, _ = self.socket.accept()
        client.settimeout(1.0)
        return client

    def close(self) -> None:
        """Remove the path, unless another process has it."""
        self.socket.close()
        if self._at_path() == self._identity:
            os.unlink(self._path)  # noqa: PTH108 - pathlib costs a megabyte

    def is_replaced(self) -> bool:
        """Say whether another relay has our path, with which the daemon then speaks."""
        return self._at_path() not in {None, self._identity}

    def is_lost(self) -> bool:
        """Say whether the path is gone, so that no daemon can connect."""
        return self._at_path() is None

    def renew(self) -> None:
        """Listen on the path again; raises `OSError` while the directory is missing."""
        made = self._listen()
        self.socket.close()
        self.socket = made

    def _at_path(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - as above
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _listen(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # The daemon that starts us could not connect before, so this path has no listener.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)  # noqa: PTH108 - as above
            before = os.umask(0o177)
            try:
                made.bind(self._path)
            finally:
                os.umask(before)
            made.listen(4)
        except OSError:
            made.close()
            raise
        found = os.stat(self._path)  # noqa: PTH116 - as above
        self._identity = found.st_dev, found.st_ino
        return made
