"""Where the daemon keeps things: state that must survive a reboot, and sockets that need not."""

import os
import stat
from pathlib import Path

import attrs

from routerd.errors import StoreError

STATE = Path("/var/lib/routerd")
RUN = Path("/run/routerd")
_LONGEST_SOCKET = 100


@attrs.frozen(kw_only=True)
class Directories:
    """The state directory and the run directory, to which nobody else may write."""

    state: Path = STATE
    run: Path = RUN

    @property
    def admin_socket(self) -> Path:
        """Return the path of the admin API's socket."""
        return self.run / "routerd.sock"

    @property
    def state_file(self) -> Path:
        """Return the path of the database of claims and of the journal."""
        return self.state / "routerd.db"

    def make(self) -> None:
        """Create both with mode 0700; `StoreError` says what is wrong with which.

        One that is there already and that others may write to is refused: who knows what they have
        put there. One that others may read is left as it is, because it may not be ours alone (the
        host's /run); the files in it are private by themselves.
        """
        if len(str(self.run)) > _LONGEST_SOCKET - len("/transport_wireguard/x.sock"):
            raise StoreError(f"run directory {self.run} is too long for a socket's path; use --run-dir")
        for path in (self.state, self.run):
            self._make(path)

    def plugin(self, name: str) -> tuple[Path, Path]:
        """Create and return the state and run directories of a plugin, private whoever made them."""
        state, run = self.state / "plugins" / name, self.run / name
        for path in (state.parent, state, run):
            self._make(path, private=True)
        return state, run

    @staticmethod
    def _make(path: Path, *, private: bool = False) -> None:
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = path.stat()
            mode, user = stat.S_IMODE(found.st_mode), os.geteuid()
            words = fault(path, mode=mode, owner=found.st_uid, user=user)
            if not words and private and mode != 0o700 and found.st_uid == user:
                path.chmod(0o700)
        except OSError as error:
            raise StoreError(
                f"{path} cannot be made: {error.strerror}; use --state-dir or --run-dir"
            ) from error
        if words:
            raise StoreError(f"{words}, or use --state-dir or --run-dir")


def fault(path: Path, *, mode: int, owner: int, user: int) -> str:
    """Return why keys and state may not be kept in a directory, or nothing."""
    if owner not in {0, user}:
        return f"{path}: it belongs to user {owner}; chown it to user {user}"
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        return (
            f"{path}: others than its owner may write to it (mode {mode:04o}); "
            f"see what is in it, then chmod go-w {path}"
        )
    return ""
