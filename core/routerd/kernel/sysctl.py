"""Kernel settings below /proc/sys as a table; undoing one restores what was there before.

A setting is ours when its original value is recorded. The record is written before the setting,
so that a crash between the two loses nothing.
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
        for change in changes:
            try:
                # Microseconds in procfs, so no thread: a cancelled apply then has no loose end.
                self._make(change)
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

    def _make(self, change: Change[str, str]) -> None:
        key = change.key
        path = self._path(key)
        originals = self._originals.all()
        if change.after is None:
            if key in originals:
                self._write(key, path, originals[key], restoring=True)
                self._originals.forget(key)
            return
        try:
            present = _plain(path.read_text())
        except FileNotFoundError as exc:
            raise TransientError(
                f"sysctl {key} does not exist; its link or kernel module is missing"
            ) from exc
        except OSError as exc:
            raise PermanentError(f"sysctl {key}: cannot be read: {exc.strerror}") from exc
        if key not in originals or key in self._vanished:
            # A link that went and came back has settings of its own again.
            self._originals.record(key, present)
            self._vanished.discard(key)
        if present != _plain(change.after):
            self._write(key, path, change.after)

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
