"""Which of the differences between desired and observed may be changed now.

The loop asks one policy per table. `TablePolicy` serves the host's tables; a cloud's is in `clouds`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol

import attrs

from routerd.errors import ProviderError
from routerd.reconcile.desired import DesiredTable
from routerd.reconcile.diff import diff
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

    def judge(
        self, want: DesiredTable, observed: Mapping[Hashable, object], *, now: float, dry_run: bool
    ) -> Verdict:
        """Return what becomes of the differences; a dry run shows the outcome without any wait."""
        ...


class TablePolicy:
    """Makes every difference a change, except those that the table itself would refuse."""

    def __init__(self, table: AnyTable) -> None:
        self._table = table

    def judge(
        self,
        want: DesiredTable,
        observed: Mapping[Hashable, object],
        *,
        now: float,
        dry_run: bool,
    ) -> Verdict:
        """Return every difference."""
        agrees = agreement(self._table)
        return weighed(self._table, diff(want.values, observed, deletable=want.complete, agrees=agrees))


def agreement(table: AnyTable) -> Callable[[object, object], bool]:
    """Return what says whether a desired and an observed value agree: the table, or equality."""
    agrees: Callable[[object, object], bool] = getattr(table, "agrees", operator.eq)
    return agrees


def weighed(
    table: AnyTable, changes: Sequence[AnyChange], *, may: Callable[[AnyChange], bool] = lambda _: True
) -> Verdict:
    """Return the verdict on `changes`; `may` says which of them may be made."""
    refused = _foreseen(table, changes)
    made = [change for change in changes if change.verb != "delete"]
    return Verdict(
        changes=changes,
        refused=refused,
        kept_back=frozenset(change.key for change in changes if not may(change)),
        late=frozenset(_foreseen(table, made).keys() - refused.keys()),
    )


def _foreseen(table: AnyTable, changes: Sequence[AnyChange]) -> Mapping[Hashable, ProviderError]:
    foresee = getattr(table, "foresee", None)
    return failures_of(foresee(changes)) if foresee is not None and changes else {}
