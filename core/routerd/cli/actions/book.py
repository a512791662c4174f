"""The answer for `list` and `show`: the daemon's, or the state file's while no daemon runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import attrs

from routerd.cli.share.ask import ask
from routerd.cli.share.settings import Settings
from routerd.errors import ActionRefused, ControlError, StoreError
from routerd.model.report.actions import ActionDetails, ActionList

if TYPE_CHECKING:
    from routerd.store import JournalBook

T = TypeVar("T", ActionList, ActionDetails)


def look(settings: Settings, path: str, kind: type[T], offline: Callable[[JournalBook], T]) -> T:
    """Return the daemon's answer to `path`, or what `offline` makes of the state file, with a note of it.

    It only reads the file. Raises the daemon's own error where there is no file either.
    """
    try:
        return ask(settings, path, kind)
    except ActionRefused:
        raise
    except ControlError as error:
        from routerd.process.clock import SystemClock  # noqa: PLC0415 - a daemon's answer needs no database
        from routerd.store import read_store  # noqa: PLC0415 - as above

        file = settings.directories.state_file
        try:
            store = read_store(file, clock=SystemClock())
        except StoreError:
            raise error from None
        try:
            found = offline(store.journal)
        finally:
            store.close()
        note = f"{error}; this list is from {file}, which does not have the changes that are wanted now"
        return attrs.evolve(found, notes=(note,))
