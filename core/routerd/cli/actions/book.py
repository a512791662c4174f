"""Where `list` and `show` get their answer: from the daemon, or from the state file while none runs."""

from __future__ import annotations

from collections.abc import Callable

from routerd.cli.share.ask import ask
from routerd.cli.share.settings import Settings
from routerd.control.client import Document
from routerd.errors import ActionRefused, ControlError, StoreError
from routerd.process.clock import SystemClock
from routerd.runtime.assembly import STATE_FILE
from routerd.store import JournalBook, read_store


def look(settings: Settings, path: str, offline: Callable[[JournalBook], Document]) -> Document:
    """Return the daemon's answer to `path`, or what `offline` makes of the state file, with a note of it.

    The file is only read. Raises the daemon's own error where there is no file either.
    """
    try:
        return ask(settings, path)
    except ActionRefused:
        raise
    except ControlError as error:
        file = settings.directories.state / STATE_FILE
        try:
            store = read_store(file, clock=SystemClock())
        except StoreError:
            raise error from None
        try:
            found = offline(store.journal)
        finally:
            store.close()
        note = f"{error}; this is what {file} says, and what is wanted now is not known"
        return {**found, "notes": [note]}
