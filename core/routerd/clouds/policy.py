"""Which changes of a cloud's table may be made now: permitted, not held down, let through by the gate."""

from collections.abc import Callable, Sequence

import attrs

from routerd.clouds.gate import Gate
from routerd.clouds.hold_down import HoldDown
from routerd.reconcile.order import AnyChange
from routerd.reconcile.policy import AnyTable, TablePolicy, Verdict


class CloudPolicy(TablePolicy):
    """A policy of the loop for a cloud's table.

    `permits` drops changes that the table cannot tell are not ours: an entry that the journal does not
    list is not deleted. A deletion waits `hold_down` seconds, because an address that is gone for a moment
    often returns. `gate` keeps back changes that nobody has approved; they stay planned.
    """

    def __init__(
        self,
        table: AnyTable,
        *,
        gate: Gate,
        permits: Callable[[AnyChange], bool] = lambda _: True,
        hold_down: float = 0.0,
    ) -> None:
        super().__init__(table)
        self.gate = gate
        self._permits = permits
        self._hold_down = HoldDown(hold_down)

    def judge(self, changes: Sequence[AnyChange], *, complete: bool, now: float, dry_run: bool) -> Verdict:
        """Return what becomes of the differences; a dry run waits for nothing and voids no approval."""
        found = list(filter(self._permits, changes))
        due = found
        if not dry_run:
            due = self._hold_down.filtered(found, now)
            # First, because an approval that has become void lets nothing through.
            self.gate.noticed(found, complete)
        verdict = super().judge(due, complete=complete, now=now, dry_run=dry_run)
        if dry_run:
            return verdict
        return attrs.evolve(
            verdict,
            kept_back=frozenset(change.key for change in due if not self.gate(change)),
            held=len(found) - len(due),
            held_until=self._hold_down.ends,
        )
