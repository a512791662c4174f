"""Which of the differences between desired and observed may be changed now.

The loop asks one policy per table. `TablePolicy` serves the host's tables; a cloud's is in `clouds`.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol

import attrs

from routerd.errors import ProviderError
from routerd.reconcile.guard import failures_of
from routerd.reconcile.order import AnyChange
from routerd.spi import Table

AnyTable = Table[Any, Any]  # Any: keys and values differ by table; the engine only compares them


@attrs.frozen(kw_only=True)
class Verdict:
    """The changes that one look at a table leads to.

    `changes` are all that count now; of these the table would refuse the keys of `refused`, the policy
    keeps the keys of `kept_back`, and the keys of `late` need the room that deletions make. `held`
    counts changes that wait for a time on purpose, the first of them until `held_until` (monotonic).
    """

    changes: Sequence[AnyChange]
    refused: Mapping[Hashable, ProviderError] = attrs.field(factory=dict)
    kept_back: frozenset[Hashable] = frozenset()
    late: frozenset[Hashable] = frozenset()
    held: int = 0
    held_until: float | None = None


class Policy(Protocol):
    """Decides about the changes of one table."""

    def judge(self, changes: Sequence[AnyChange], *, complete: bool, now: float, dry_run: bool) -> Verdict:
        """Return what becomes of the differences between desired and observed.

        `complete` says that every desired value is known. A dry run shows the outcome without any wait.
        """


class TablePolicy:
    """Makes every difference a change, except those that the table itself would refuse."""

    def __init__(self, table: AnyTable) -> None:
        self._table = table

    def judge(self, changes: Sequence[AnyChange], *, complete: bool, now: float, dry_run: bool) -> Verdict:
        """Return every difference."""
        refused = self._foreseen(changes)
        made = [change for change in changes if change.verb != "delete"]
        late = frozenset(self._foreseen(made).keys() - refused.keys())
        return Verdict(changes=changes, refused=refused, late=late)

    def _foreseen(self, changes: Sequence[AnyChange]) -> Mapping[Hashable, ProviderError]:
        foresee = getattr(self._table, "foresee", None)
        return failures_of(foresee(changes)) if foresee is not None and changes else {}
