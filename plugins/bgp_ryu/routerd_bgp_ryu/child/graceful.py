"""Graceful restart (RFC 4724): what our OPENs say of it, and whose paths outlive their session.

A neighbour whose connection breaks without a NOTIFICATION, and whose OPEN had the capability, starts anew and
forwards packets meanwhile. What it had announced stays in the table, and with everybody whom it was reflected
to, until the neighbour says End-of-RIB, says that it forwards no more, or has had its time. One that is
silent until the hold time is over is thought dead, and others are told so at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import attrs

Library = Any  # Any: the libraries ship no types

_IPV4_UNICAST = (1, 1)
_RESTARTED = 0x8
"""The bit R of the four flags: we have just started, and this is no time to wait for us (section 3)."""

_FORWARDS = 0x80
"""The bit F of an address family: what was forwarded before is forwarded still."""

_LONGEST = 4095
"""Seconds that the twelve bits of the restart time can say."""


@attrs.define
class _Kept:
    prefixes: frozenset[str]
    lost: float
    end: float


class Graceful:
    """Whose paths are kept, which of them, and until when; `seconds` is the longest time."""

    def __init__(
        self, packet: Library, seconds: float, *, forwards: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._packet = packet
        self._seconds = seconds
        self._forwards = forwards
        self._clock = clock
        self._times: dict[str, float] = {}
        self._kept: dict[str, _Kept] = {}

    def capability(self, *, complete: bool) -> Library:
        """Return what our next OPEN says.

        That we forward is true when a speaker before us has died, whose routes the kernel still has, and
        as soon as we are `complete`. After a start of the host nothing is forwarded at first.
        """
        return self._packet.BGPOptParamCapabilityGracefulRestart(
            flags=_RESTARTED if self._forwards and not complete else 0,
            time=int(min(self._seconds, _LONGEST)),
            tuples=[(*_IPV4_UNICAST, _FORWARDS if self._forwards or complete else 0)],
        )

    def up(self, neighbour: str, opened: Library) -> bool:
        """Take note of the OPEN of a session; say whether its sender forwards what is kept of it."""
        found = opened.opt_param_cap_map.get(self._packet.BGP_CAP_GRACEFUL_RESTART)
        flags = [each[2] for each in found.tuples if each[:2] == _IPV4_UNICAST] if found is not None else []
        self._times.pop(neighbour, None)
        if not flags:
            return False
        self._times[neighbour] = found.time
        kept = self._kept.get(neighbour)
        if kept is not None:
            kept.end = kept.lost + self._seconds
        return bool(flags[0] & _FORWARDS)

    def lost(self, neighbour: str, prefixes: Iterable[str]) -> None:
        """Keep what a neighbour had announced, if its OPEN said that it may be back."""
        if neighbour in self._times:
            now = self._clock()
            end = now + min(self._times[neighbour], self._seconds)
            self._kept[neighbour] = _Kept(frozenset(prefixes), now, end)

    def narrow(self, neighbour: str, permitted: Iterable[str]) -> bool:
        """Keep no more than what is permitted now; say whether anything is kept no more."""
        kept = self._kept.get(neighbour)
        if kept is None:
            return False
        before, kept.prefixes = kept.prefixes, kept.prefixes.intersection(permitted)
        return kept.prefixes != before

    def leave(self, neighbour: str) -> bool:
        """Keep nothing of a neighbour; say whether anything was kept."""
        return self._kept.pop(neighbour, None) is not None

    def over(self) -> list[str]:
        """Return whose time is over."""
        now = self._clock()
        return [neighbour for neighbour, kept in self._kept.items() if kept.end <= now]

    def holds(self, neighbour: str, prefix: str) -> bool:
        """Say whether a path of a lost session is kept."""
        kept = self._kept.get(neighbour)
        return kept is not None and prefix in kept.prefixes


def mend_losses(base: Library, holds: Callable[[str, str], bool]) -> None:
    """Make the library keep paths of a lost session that `holds` names, while nobody else has one.

    The library numbers the sessions of a neighbour; a path with an older number is of a lost one.
    """
    kind = base.Destination
    add, remove = kind.add_new_path, kind.remove_old_paths_from_source

    def remove_old(destination: Library, source: Library) -> Library:
        known = destination._known_path_list  # noqa: SLF001 - there is no public way to it
        alone = all(path.source is source for path in known)
        if alone and holds(source.ip_address, destination.nlri_str):
            return []
        return remove(destination, source)

    def add_new_path(destination: Library, path: Library) -> None:
        known = destination._known_path_list  # noqa: SLF001 - as above
        known[:] = [each for each in known if each.source is path.source or not _is_lost(each)]
        add(destination, path)

    kind.remove_old_paths_from_source = remove_old
    kind.add_new_path = add_new_path


def _is_lost(path: Library) -> bool:
    return path.source is not None and path.source_version_num < path.source.version_num
