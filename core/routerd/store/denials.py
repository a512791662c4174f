"""The second copy of all revocations: an append-only text file beside the state file.

A reflector with a damaged state file gets its claims again from the leaves, but a revocation is
nowhere else. One line is one revocation with its checksum.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from routerd.errors import StoreError
from routerd.store.access import sync_directory
from routerd.store.codec import sealed, unsealed
from routerd.store.records import Revocation

Key = tuple[str, str, str]


class Denials:
    """The file at `path`; it need not exist before the first revocation."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, revocations: Iterable[Revocation]) -> None:
        """Add lines; they are on the disk when this returns. Raises `StoreError`."""
        lines = "".join(f"{sealed(found)}\n" for found in revocations)
        try:
            existed = self.path.exists()
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                # The next line must not continue a line that a crash cut short.
                torn = os.fstat(descriptor).st_size and not self._ends_whole()
                _write(descriptor, (("\n" if torn else "") + lines).encode())
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if not existed:
                sync_directory(self.path.parent)
        except OSError as error:
            raise StoreError(
                f"{self.path}: it cannot be written: {error.strerror}; check the state directory"
            ) from error

    def read(self) -> dict[Key, Revocation]:
        """Return the last line of each revocation; damaged lines do not count."""
        try:
            text = self.path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StoreError(
                f"{self.path}: it cannot be read: {error.strerror}; check its owner and mode"
            ) from error
        return {
            (found.policy, found.leaf_id, found.nonce): found
            for line in text.splitlines()
            for found in _parsed(line)
        }

    def _ends_whole(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"


def _parsed(line: str) -> Iterator[Revocation]:
    if not line.startswith("{"):
        with contextlib.suppress(ValueError):
            yield unsealed(line, Revocation)


def _write(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
