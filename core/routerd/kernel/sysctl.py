"""Kernel settings below /proc/sys as a table; a deletion restores the value from before us.

A setting is ours when its original value is recorded.

What complicates this:

* A crash must not lose an original, so the record is on the disk before the setting changes. All
  originals of a batch are read before the first change, because settings move each other.
* Some settings move others: a change of `ip_forward` sets the forwarding of every device, and whether
  redirects are accepted. The record has their differing values too, and a deletion restores them.
* The setting of a link vanishes with the link. A link that returns has new originals.
"""

import asyncio
import errno
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from routerd.errors import PermanentError, ProviderError, TransientError
from routerd.model.change import Change
from routerd.spi import apply_each

_SAFE = re.compile(r"[A-Za-z0-9_:@+-][A-Za-z0-9_.:@+-]*\Z")
_MOVERS = {
    "net/ipv4/ip_forward": "net/ipv4/conf",
    "net/ipv4/conf/all/forwarding": "net/ipv4/conf",
    "net/ipv6/conf/all/forwarding": "net/ipv6/conf",
}
"""Settings with which `forwarding` below a directory changes for every device."""
_PER_LINK = re.compile(r"(net)\.(ipv4|ipv6|mpls)\.(conf|neigh)\.(.+)\.([^.]+)\Z")


class Originals(Protocol):
    """The values from before our first change, kept over restarts."""

    def record(self, key: str, value: str) -> None:
        """Keep the original value of a setting in place of an older one."""

    def forget(self, key: str) -> None:
        """Drop a setting; an unknown key is a success."""

    def all(self) -> Mapping[str, str]:
        """Return all originals by key."""


class SysctlTable:
    """Implements `spi.Table[str, str]`; keys are as in sysctl(8), `net.ipv4.ip_forward`.

    A link's name may have dots in `net.ipv4.conf.<link>.<setting>`; a key may also have slashes.
    In a comparison of values a run of blanks is one blank.
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
        # A setting that moves others goes first, both ways, so that an explicit change has the last word.
        in_turn = sorted(changes, key=lambda change: self._moved_by(change.key) is None)
        failures = await apply_each(in_turn, partial(_yielding, self._record))
        recorded = [change for change in in_turn if change.key not in failures]
        return failures | await apply_each(recorded, partial(_yielding, self._make))

    def _observe(self) -> Mapping[str, str]:
        observed: dict[str, str] = {}
        self._vanished.clear()
        for key in self._originals.all():
            try:
                observed[key] = _plain(self._path(key).read_text())
            except FileNotFoundError:
                self._vanished.add(key)
            except OSError as exc:
                raise TransientError(f"sysctl {key}: it cannot be read: {exc.strerror}") from exc
        return observed

    def _record(self, change: Change[str, str]) -> None:
        """Keep the original of a setting before its change."""
        key = change.key
        if change.after is None:
            return
        path = self._path(key)
        try:
            present = _plain(path.read_text())
        except FileNotFoundError as exc:
            raise TransientError(
                f"sysctl {key}: it does not exist; its link or kernel module is missing"
            ) from exc
        except OSError as exc:
            raise PermanentError(f"sysctl {key}: it cannot be read: {exc.strerror}") from exc
        if key not in self._originals.all() or key in self._vanished:
            # A link that went and returned has new settings.
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
        """Return the settings that a change away from `value` and back would not restore."""
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
                raise TransientError(f"sysctl {key}: it vanished during the change") from exc
        except OSError as exc:
            if exc.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
                raise PermanentError(
                    f"sysctl {key}: routerd may not write {value}; mount /proc/sys read-write"
                ) from exc
            raise PermanentError(f"sysctl {key}: the kernel refuses {value}: {exc.strerror}") from exc

    def _path(self, key: str) -> Path:
        per_link = _PER_LINK.match(key)
        dotted = list(per_link.groups()) if per_link else key.split(".")
        parts = key.split("/") if "/" in key else dotted
        if not all(_SAFE.match(part) for part in parts):
            raise PermanentError(f"sysctl {key}: not a valid name; write one such as net.ipv4.ip_forward")
        return self._root.joinpath(*parts)


async def _yielding(step: Callable[[Change[str, str]], None], change: Change[str, str]) -> None:
    """Make a step and let others run: microseconds in procfs, so a thread would only leave a loose end."""
    step(change)
    await asyncio.sleep(0)


def _plain(value: str) -> str:
    return " ".join(value.split())
