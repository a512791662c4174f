"""Kernel settings below /proc/sys as a table; undoing one restores what was there before.

A setting is ours when its original value is recorded. The record is written before the setting,
so that a crash between the two loses nothing. Some settings move others: the kernel that is told to
forward, or not to, sets the forwarding of every device too, and whether redirects are accepted.
What had been set otherwise before is recorded together with the original, and put back with it.
"""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from routerd.errors import PermanentError, ProviderError, TransientError
from routerd.model.change import Change

_SAFE = re.compile(r"[A-Za-z0-9_:@+-][A-Za-z0-9_.:@+-]*\Z")
_MOVERS = {
    "net/ipv4/ip_forward": "net/ipv4/conf",
    "net/ipv4/conf/all/forwarding": "net/ipv4/conf",
    "net/ipv6/conf/all/forwarding": "net/ipv6/conf",
}
"""Settings with which `forwarding` below a directory changes for every device."""
_PER_LINK = re.compile(r"(net)\.(ipv4|ipv6|mpls)\.(conf|neigh)\.(.+)\.([^.]+)\Z")


class Originals(Protocol):
    """Where the values before our first change are kept, over restarts."""

    def record(self, key: str, value: str) -> None:
        """Keep the original value of a setting, in place of an older one."""
        ...

    def forget(self, key: str) -> None:
        """Drop a setting; one that is not kept is a success."""
        ...

    def all(self) -> Mapping[str, str]:
        """Return all originals by key."""
        ...


class SysctlTable:
    """Implements `spi.Table[str, str]`; keys are written as in sysctl(8), `net.ipv4.ip_forward`.

    A link's name may have dots in `net.ipv4.conf.<link>.<setting>`; any key may also be written
    with slashes. Values are compared with runs of blanks as one blank.
    """

    def __init__(self, originals: Originals, *, root: Path = Path("/proc/sys")) -> None:
        self._originals = originals
        self._root = root
        self._vanished: set[str] = set()

    async def observe(self) -> Mapping[str, str]:
        """Return the present value of each setting that is ours and still exists."""
        return await asyncio.to_thread(self._observe)

    async def apply(self, changes: Sequence[Change[str, str]]) -> Mapping[str, ProviderError]:
        """Record and set, or restore and forget."""
        failures: dict[str, ProviderError] = {}
        # What moves others comes first, both ways: what is asked for by name has the last word.
        in_turn = sorted(changes, key=lambda change: self._moved_by(change.key) is None)
        for step in (self._record, self._make):
            for change in in_turn:
                if change.key in failures:
                    continue
                try:
                    # Microseconds in procfs, so no thread: a cancelled apply then has no loose end.
                    step(change)
                except ProviderError as error:
                    failures[change.key] = error
                await asyncio.sleep(0)
        return failures

    def _observe(self) -> Mapping[str, str]:
        observed: dict[str, str] = {}
        self._vanished.clear()
        for key in self._originals.all():
            try:
                observed[key] = _plain(self._path(key).read_text())
            except FileNotFoundError:
                self._vanished.add(key)
            except OSError as exc:
                raise TransientError(f"sysctl {key}: cannot be read: {exc.strerror}") from exc
        return observed

    def _record(self, change: Change[str, str]) -> None:
        """Keep the original of a setting that is to be made; done for all before the first is made."""
        key = change.key
        if change.after is None:
            return
        path = self._path(key)
        try:
            present = _plain(path.read_text())
        except FileNotFoundError as exc:
            raise TransientError(
                f"sysctl {key} does not exist; its link or kernel module is missing"
            ) from exc
        except OSError as exc:
            raise PermanentError(f"sysctl {key}: cannot be read: {exc.strerror}") from exc
        if key not in self._originals.all() or key in self._vanished:
            # A link that went and came back has settings of its own again.
            moved = self._moved(key, present) if present != _plain(change.after) else ()
            self._originals.record(key, "\n".join((present, *moved)))
            self._vanished.discard(key)

    def _make(self, change: Change[str, str]) -> None:
        key = change.key
        path = self._path(key)
        if change.after is not None:
            if self._present(path) != _plain(change.after):
                self._write(key, path, change.after)
            return
        kept = self._originals.all().get(key)
        if kept is None:
            return
        original, *moved = kept.splitlines() or [""]
        self._write(key, path, original, restoring=True)
        for line in moved:
            name, _, value = line.partition("=")
            if self._present(self._root / name) not in (None, value):
                self._write(name, self._root / name, value, restoring=True)
        self._originals.forget(key)

    def _moved_by(self, key: str) -> Path | None:
        """Return the directory of the settings that the kernel changes together with this one."""
        for mover, directory in _MOVERS.items():
            if key in (mover, mover.replace("/", ".")):
                return self._root / directory
        return None

    def _moved(self, key: str, value: str) -> list[str]:
        """Return what would not be as it is now once the setting had been away from `value` and back."""
        directory = self._moved_by(key)
        if directory is None:
            return []
        after = {path: value for path in directory.glob("*/forwarding") if path.parent.name != "all"}
        if directory == self._root / "net/ipv4/conf":
            after[directory / "all/accept_redirects"] = "1" if value == "0" else "0"
        return [
            f"{path.relative_to(self._root)}={present}"
            for path, moved in sorted(after.items())
            if (present := self._present(path)) not in (None, moved)
        ]

    @staticmethod
    def _present(path: Path) -> str | None:
        try:
            return _plain(path.read_text())
        except OSError:
            return None

    def _write(self, key: str, path: Path, value: str, *, restoring: bool = False) -> None:
        try:
            path.write_text(value + "\n")
        except FileNotFoundError as exc:
            if not restoring:
                raise TransientError(f"sysctl {key} went away while it was being set") from exc
        except OSError as exc:
            if exc.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
                raise PermanentError(
                    f"sysctl {key}: not permitted to write {value}; is /proc/sys read-only here?"
                ) from exc
            raise PermanentError(f"sysctl {key}: the kernel refuses {value}: {exc.strerror}") from exc

    def _path(self, key: str) -> Path:
        per_link = _PER_LINK.match(key)
        dotted = list(per_link.groups()) if per_link else key.split(".")
        parts = key.split("/") if "/" in key else dotted
        if not all(_SAFE.match(part) for part in parts):
            raise PermanentError(f"sysctl {key}: no such name can exist")
        return self._root.joinpath(*parts)


def _plain(value: str) -> str:
    return " ".join(value.split())
