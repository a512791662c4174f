"""Which changes of a cloud may be made: by the profile's mode, what was approved, and what is held.

The decisions are in the state file and are read with each look at the table, so that a restarted
router, or one whose disk was full, never acts on what it only remembers.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol

from routerd.errors import StoreError
from routerd.model.change import Change
from routerd.store import Approval, Hold
from routerd.store.codec import dumps, to_json

Mode = Literal["plan", "approve", "auto"]

State = Literal["planned", "waiting", "approved", "held", "auto"]
"""Only planned (mode plan), waits for approval, was approved, held after an undo, made by itself."""

AnyChange = Change[Any, Any]  # Any: of any table of a cloud

_LETTERS = "bcdfghjkmnpqrstvwxyz"
"""No vowels, so that no id is a word, and no digits, so that none is the number of an entry."""

_LENGTH = 8


class Decisions(Protocol):
    """What the journal knows of decisions on changes of clouds."""

    def approvals(self, scope: str | None = None, table: str | None = None) -> tuple[Approval, ...]:
        """Return what was approved and not made yet."""
        ...

    def holds(self, scope: str | None = None, table: str | None = None) -> tuple[Hold, ...]:
        """Return the keys that are held."""
        ...

    def now(self) -> datetime:
        """Return the time as the journal notes it."""
        ...

    def drop_approvals(self, numbers: Iterable[int]) -> None:
        """Forget approvals of changes that nobody wants any longer."""
        ...


def digest_of(scope: str, table: str, change: AnyChange) -> str:
    """Return what tells a change from every other: where it is, its key, and both of its values."""
    text = dumps([scope, table, change.verb, str(change.key), to_json(change.before), to_json(change.after)])
    return hashlib.sha256(text.encode()).hexdigest()


def id_of(digest: str) -> str:
    """Return the short form of a digest that people type."""
    number = int(digest, 16)
    letters = []
    for _ in range(_LENGTH):
        number, letter = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[letter])
    return "".join(letters)


class Gate:
    """Lets changes of one table of a cloud through, or keeps them back; a `Binding.gate`."""

    def __init__(self, decisions: Decisions, *, scope: str, table: str, mode: Mode) -> None:
        self.scope = scope
        self.table = table
        self.mode: Mode = mode
        self._decisions = decisions
        self._approved: dict[str, int] = {}
        self._held: frozenset[str] = frozenset()
        self._dropped: set[int] = set()
        self._since: dict[str, datetime] = {}

    def read(self) -> None:
        """Read what was decided; blocks, and may raise `StoreError`."""
        approvals = self._decisions.approvals(self.scope, self.table)
        holds = self._decisions.holds(self.scope, self.table)
        self._approved = {each.digest: each.number for each in approvals}
        self._held = frozenset(each.key for each in holds)

    def __call__(self, change: AnyChange) -> bool:
        """Say whether a change may be made."""
        return self.state(change) in {"auto", "approved"}

    def state(self, change: AnyChange, mode: Mode | None = None) -> State:
        """Return how a change stands, in the profile's mode or in another one."""
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
        """Return when this process first found the change to be wanted."""
        return self._since.get(self.digest(change))

    def noticed(self, changes: Sequence[AnyChange], complete: bool) -> None:
        """Take note of all changes that a look found; what was approved and is not among them is void.

        Only a look at `complete` intent can tell that. When that cannot be written down, it holds all
        the same, and is written down at a later look.
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
