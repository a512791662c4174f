"""The gate of a cloud's table: the profile's mode, approvals and holds decide which changes are made.

The decisions are in the state file. The gate reads them at each observation, so that a restarted router,
or one whose disk was full, never acts on a decision that only its memory holds.
"""

import contextlib
import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from routerd.errors import StoreError
from routerd.model.change import Change
from routerd.model.report.plan import ActionState
from routerd.store import JournalBook
from routerd.store.codec import dumps, to_json

Mode = Literal["plan", "approve", "auto"]

AnyChange = Change[Any, Any]  # Any: of any table of a cloud

_LETTERS = "bcdfghjkmnpqrstvwxyz"
"""Without vowels, so that an id is never a word; without digits, so that it is never an entry's number."""

_LENGTH = 8


def digest_of(scope: str, table: str, change: AnyChange) -> str:
    """Return the digest of a change: its scope, table and key, and both of its values."""
    text = dumps([scope, table, change.verb, str(change.key), to_json(change.before), to_json(change.after)])
    return hashlib.sha256(text.encode()).hexdigest()


def id_of(digest: str) -> str:
    """Return the short form of a digest, for people to type."""
    number = int(digest, 16)
    letters = []
    for _ in range(_LENGTH):
        number, letter = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[letter])
    return "".join(letters)


class Gate:
    """Admits changes of one table of a cloud, or keeps them back."""

    def __init__(self, decisions: JournalBook, *, scope: str, table: str, mode: Mode) -> None:
        self.scope = scope
        self.table = table
        self.mode: Mode = mode
        self._decisions = decisions
        self._approved: dict[str, int] = {}
        self._held: frozenset[str] = frozenset()
        self._dropped: set[int] = set()
        self._since: dict[str, datetime] = {}

    def read(self) -> None:
        """Read the decisions; blocks, and may raise `StoreError`."""
        approvals = self._decisions.approvals(self.scope, self.table)
        holds = self._decisions.holds(self.scope, self.table)
        self._approved = {each.digest: each.number for each in approvals}
        self._held = frozenset(each.key for each in holds)

    def __call__(self, change: AnyChange) -> bool:
        """Say whether a change may be made."""
        return self.state(change) in {"auto", "approved"}

    def state(self, change: AnyChange, mode: Mode | None = None) -> ActionState:
        """Return the state of a change, in the profile's mode or in `mode`."""
        mode = mode or self.mode
        if mode == "plan":
            return "planned"
        if str(change.key) in self._held:
            return "held"
        if mode == "auto":
            return "auto"
        number = self._approved.get(self.digest(change))
        return "waiting" if number is None or number in self._dropped else "approved"

    def digest(self, change: AnyChange) -> str:
        """Return the digest of a change of this table."""
        return digest_of(self.scope, self.table, change)

    def since(self, change: AnyChange) -> datetime | None:
        """Return the time at which this process first found the change wanted."""
        return self._since.get(self.digest(change))

    def noticed(self, changes: Sequence[AnyChange], complete: bool) -> None:
        """Take note of every change found; an approval of any other change is void.

        Only a `complete` desired state voids approvals. When the disk refuses the deletion of a void
        approval, it stays void in memory, and a later observation deletes it.
        """
        now = self._decisions.now()
        wanted = {self.digest(change) for change in changes}
        self._since = {digest: self._since.get(digest, now) for digest in wanted}
        if complete:
            self._dropped |= {number for digest, number in self._approved.items() if digest not in wanted}
        if self._dropped:
            with contextlib.suppress(StoreError):
                self._decisions.drop_approvals(sorted(self._dropped))
                self._dropped.clear()
                self._approved = {d: number for d, number in self._approved.items() if d in wanted}
