"""Where the daemon keeps things: state that must survive a reboot, and sockets that need not."""

from __future__ import annotations

from pathlib import Path

import attrs

from routerd.errors import StoreError

STATE = Path("/var/lib/routerd")
RUN = Path("/run/routerd")
_LONGEST_SOCKET = 100


@attrs.frozen(kw_only=True)
class Directories:
    """The state directory and the run directory, each private to root."""

    state: Path = STATE
    run: Path = RUN

    @property
    def admin_socket(self) -> Path:
        """Return the path of the admin API's socket."""
        return self.run / "routerd.sock"

    def make(self) -> None:
        """Create both with mode 0700; `StoreError` says what is wrong with which."""
        if len(str(self.run)) > _LONGEST_SOCKET - len("/transport_wireguard/x.sock"):
            raise StoreError(f"run directory {self.run} is too long for a socket's path; use --run-dir")
        for path in (self.state, self.run):
            self._make(path)

    def plugin(self, name: str) -> tuple[Path, Path]:
        """Create and return the state and run directories of a plugin."""
        state, run = self.state / "plugins" / name, self.run / name
        for path in (state.parent, state, run):
            self._make(path)
        return state, run

    @staticmethod
    def _make(path: Path) -> None:
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{path} cannot be made: {error.strerror}; use --state-dir or --run-dir"
            ) from error
