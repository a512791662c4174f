"""One table in the loop: its last look, its failed keys, and its report.

What complicates this:
- A look may be skipped: a cloud costs money and quota, and a table that failed waits for its retry.
- A key that the table foresees to refuse counts as failed without an attempt.
- A success that does not last is a failure, or a table that forgets would keep the loop busy. The same
  holds for a table that has other keys at each reading.
"""

import operator
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import TypeVar

import attrs

from routerd.errors import ProviderError, TransientError
from routerd.model.change import DesiredTable
from routerd.reconcile.desired import Desired
from routerd.reconcile.diff import diff
from routerd.reconcile.guard import Call, asked, contained, content_of, failures_of
from routerd.reconcile.order import OF_SUBSYSTEM, AnyChange, Step
from routerd.reconcile.policy import AnyTable, Policy, TablePolicy, Verdict
from routerd.reconcile.retry import STEADY, Pending, Retries, backoff
from routerd.reconcile.wording import key_text, noun
from routerd.spi import Clock, Logger

T = TypeVar("T")

_WHOLE_TABLE = "(whole table)"
_PAST = {"create": "created", "replace": "replaced", "delete": "deleted"}
SLOW = 1.0
"""Seconds after which the report of a table says that a call has no answer yet."""

_LISTED = 20
"""Number of changes of one step up to which the log names each."""


@attrs.frozen(kw_only=True)
class Binding:
    """A table and how the loop treats it.

    `role` is its rank (see `order.RANKS`), `lane` its group, `deadline` the seconds of one call.
    While nothing changes on our side, `quiet` seconds pass between two observations. The tables of one
    `plugin` wait for each other; it is empty for the core's own.
    """

    name: str
    role: str
    table: AnyTable
    lane: str = "host"
    plugin: str = ""
    deadline: float = 30.0
    policy: Policy = attrs.field(default=attrs.Factory(lambda self: TablePolicy(self.table), takes_self=True))
    quiet: float = 0.0


@attrs.frozen(kw_only=True)
class TableReport:
    """The state of a table at the end of its last pass.

    `planned` are changes that were found and not made (a dry run, a closed gate), `refused` those that
    the table would refuse, each with the reason. `surplus` counts entries that are there, are not desired
    and are not deleted yet, without those that are `held` for a time on purpose.
    """

    name: str
    desired: int = 0
    observed: int = 0
    in_sync: int = 0
    surplus: int = 0
    held: int = 0
    pending: Mapping[Hashable, Pending] = attrs.field(factory=dict)
    planned: tuple[AnyChange, ...] = ()
    refused: tuple[tuple[AnyChange, ProviderError], ...] = ()
    complete: bool = True
    error: str = ""
    readable: bool = True
    plugin: str = ""

    @property
    def settled(self) -> bool:
        """Say whether the world is as desired."""
        open_ends = bool(self.pending) or bool(self.planned) or bool(self.surplus)
        return self.readable and not open_ends and self.in_sync == self.desired


class BoundTable:
    """Compares and changes one table, and remembers how that went."""

    def __init__(self, binding: Binding, *, clock: Clock, log: Logger, jitter: Callable[[], float]) -> None:
        self.binding = binding
        self._report: TableReport | None = None
        self._content: Mapping[Hashable, object] | None = None
        self._call: tuple[Call, float] | None = None
        self.late: frozenset[Hashable] = frozenset()
        self._clock = clock
        self._log = log
        self._jitter = jitter
        self._retries = Retries()
        self._observed_at: float | None = None
        self._wanted: tuple[Mapping[Hashable, object], bool] | None = None
        self._refused: frozenset[Hashable] = frozenset()
        self._held_until: float | None = None
        self._changed: set[Hashable] = set()
        self._restless = 0

    @property
    def report(self) -> TableReport | None:
        """Return how the last pass left the table, or that it does not answer."""
        if self._call is None:
            return self._report
        call, began = self._call
        seconds = self._clock.monotonic() - began
        if seconds < SLOW:
            return self._report
        blank = TableReport(name=self.binding.name, plugin=self.binding.plugin)
        error = f"no answer since {seconds:.0f} s ({call})"
        return attrs.evolve(self._report or blank, error=error, readable=False)

    # --- when ----------------------------------------------------------------------------------------

    def reread(self) -> bool:
        """Let the next pass observe the table; say whether it had been observed."""
        before, self._observed_at = self._observed_at, None
        return before is not None

    def retry_now(self) -> None:
        """Make every failed key due at once."""
        self._observed_at = None
        self._retries.make_due()

    def retry_early(self) -> None:
        """Make failed keys due that a change of the world around them may have helped."""
        self._retries.make_curable_due()

    def next_look(self) -> float | None:
        """Return the monotonic time at which a retry or a held change is due; none when nothing waits."""
        whole = self._retries.pending.get(_WHOLE_TABLE)
        if whole is not None:
            # A table that cannot be read has nothing to do before its own retry.
            return whole.next_attempt
        times = (self._retries.next_attempt(), self._held_until)
        return min((at for at in times if at is not None), default=None)

    def _is_quiet(self, want: DesiredTable, now: float) -> bool:
        if not self.binding.quiet or self._observed_at is None or self._report is None:
            return False
        if any(entry.next_attempt <= now for entry in self._retries.pending.values()):
            return False
        if self._held_until is not None and self._held_until <= now:
            return False
        unchanged = self._wanted == (dict(want.values), want.complete)
        accounted = self._report.settled or bool(self._retries.pending) or bool(self._report.planned)
        return unchanged and accounted and now - self._observed_at < self.binding.quiet

    # --- look ----------------------------------------------------------------------------------------

    @property
    def looked(self) -> bool:
        """Say whether there is a look that `judge` has not judged yet."""
        return self._content is not None

    def is_settled(self, desired: Desired) -> bool:
        """Say whether the table was as desired when a pass last judged it, and is to stay so."""
        want = desired.table(self.binding.name)
        settled = self._report is not None and self._report.settled
        return settled and self._wanted == (want.values, want.complete)

    async def look(self, desired: Desired) -> bool:
        """Observe the table if a look is due; return whether it could be read. `judge` says what follows."""
        binding = self.binding
        now = self._clock.monotonic()
        if self.looked:
            return False  # an earlier look took longer than its pass
        want = desired.table(binding.name)
        changed = self._restless and self._wanted != (dict(want.values), want.complete)
        if not (changed or self._retries.due(_WHOLE_TABLE, now)) or self._is_quiet(want, now):
            return False

        async def observe() -> Mapping[Hashable, object]:
            return content_of(await binding.table.observe())

        try:
            self._content = await self._ask("observe", observe)
        except ProviderError as error:
            self._unreadable(error)
            return False
        return True

    def judge(self, desired: Desired, *, dry_run: bool) -> list[AnyChange]:
        """Return the changes to make now by the last look; none in a dry run, or without a new look."""
        observed, self._content = self._content, None
        if observed is None:
            return []
        binding, retries = self.binding, self._retries
        want = desired.table(binding.name)
        now = self._clock.monotonic()
        try:
            with contained(self._log, table=binding.name, call="observe", plugin=binding.plugin):
                agrees = getattr(binding.table, "agrees", operator.eq)
                changes = diff(want.values, observed, deletable=want.complete, agrees=agrees)
                verdict = binding.policy.judge(changes, complete=want.complete, now=now, dry_run=dry_run)
        except ProviderError as error:
            self._unreadable(error)
            return []
        retries.record({_WHOLE_TABLE: None}, now=now, jitter=0.0)
        wanted = dict(want.values), want.complete
        self._count_restless({change.key for change in verdict.changes}, same=self._wanted == wanted)
        self._wanted = wanted
        self._observed_at = now
        self._held_until = verdict.held_until
        self.late = verdict.late
        retries.reconsider({change.key: change.after for change in verdict.changes})
        retries.forget_settled({change.key for change in verdict.changes})
        if self._restless >= STEADY and not dry_run:
            self._rest(now)
        self._refuse(verdict, now, dry_run=dry_run)
        found = [
            change
            for change in verdict.changes
            if change.key not in verdict.refused and retries.due(change.key, now)
        ]
        planned = [change for change in found if dry_run or change.key in verdict.kept_back]
        surplus = sum(change.verb == "delete" for change in verdict.changes)
        self._report = TableReport(
            name=binding.name,
            plugin=binding.plugin,
            desired=len(want.values),
            observed=len(observed),
            in_sync=len(want.values) - (len(verdict.changes) - surplus),
            surplus=surplus,
            held=verdict.held,
            pending=dict(retries.pending),
            planned=tuple(planned),
            refused=tuple(
                (change, verdict.refused[change.key])
                for change in verdict.changes
                if change.key in verdict.refused
            ),
            complete=want.complete,
        )
        return [] if dry_run else [change for change in found if change.key not in verdict.kept_back]

    def _count_restless(self, keys: set[Hashable], *, same: bool) -> None:
        """Count the readings in a row that had only new differences, after all earlier ones had been made."""
        if not keys or not same:
            self._restless = 0
        elif self._changed and keys.isdisjoint(self._changed):
            self._restless += 1
        self._changed = set()

    def _rest(self, now: float) -> None:
        """Make the changes of this reading, and leave the table alone for a pause that grows."""
        error = TransientError("has other keys at each reading, although nothing else changed")
        failures = self._restless - STEADY + 1
        self._retries.pending[_WHOLE_TABLE] = Pending(
            failures=failures, error=error, next_attempt=now + backoff(failures, error, self._jitter())
        )
        if failures == 1:
            self._log.warning(
                "table.restless", table=self.binding.name, plugin=self.binding.plugin, error=str(error)
            )

    def _refuse(self, verdict: Verdict, now: float, *, dry_run: bool) -> None:
        """Count each foreseen refusal as a failure, and drop those that the table no longer foresees."""
        retries = self._retries
        for key in self._refused - verdict.refused.keys():
            retries.pending.pop(key, None)
        self._refused = frozenset(verdict.refused)
        failing = [
            each for each in verdict.changes if each.key in verdict.refused and retries.due(each.key, now)
        ]
        if not failing or dry_run:
            return
        outcome = {change.key: verdict.refused[change.key] for change in failing}
        self._log_outcome(failing, outcome)
        wanted = {change.key: change.after for change in failing}
        retries.record(outcome, now=now, jitter=self._jitter(), wanted=wanted)

    def _unreadable(self, error: ProviderError) -> None:
        before = self._retries.pending.get(_WHOLE_TABLE)
        self._retries.record({_WHOLE_TABLE: error}, now=self._clock.monotonic(), jitter=self._jitter())
        if before is None or str(before.error) != str(error):
            self._log.warning("table.unreadable", table=self.binding.name, error=str(error))
        self._report = attrs.evolve(
            self._report or TableReport(name=self.binding.name, plugin=self.binding.plugin),
            error=str(error),
            readable=False,
            pending=dict(self._retries.pending),
        )

    # --- change --------------------------------------------------------------------------------------

    async def apply(self, step: Step) -> bool:
        """Make the changes of one step; return whether any of them was made."""
        binding, retries = self.binding, self._retries
        failures: Mapping[Hashable, ProviderError]

        async def change() -> Mapping[Hashable, ProviderError]:
            return failures_of(await binding.table.apply(step.changes))

        try:
            failures = await self._ask("apply", change)
        except ProviderError as error:
            failures = {change.key: error for change in step.changes}
        wanted = {change.key: change.after for change in step.changes}
        outcome = {key: retries.judged(key, after, failures.get(key)) for key, after in wanted.items()}
        self._log_outcome(step.changes, outcome)
        retries.record(outcome, now=self._clock.monotonic(), jitter=self._jitter(), wanted=wanted)
        done = [change.verb for change in step.changes if outcome[change.key] is None]
        self._changed.update(change.key for change in step.changes if outcome[change.key] is None)
        if self._report is not None:
            self._report = attrs.evolve(
                self._report,
                pending=dict(retries.pending),
                in_sync=self._report.in_sync + len(done) - done.count("delete"),
                surplus=self._report.surplus - done.count("delete"),
                observed=self._report.observed + done.count("create") - done.count("delete"),
            )
        return bool(done)

    async def _ask(self, call: Call, begin: Callable[[], Awaitable[T]]) -> T:
        binding = self.binding
        self._call = call, self._clock.monotonic()
        try:
            return await asked(
                begin,
                log=self._log,
                table=binding.name,
                call=call,
                deadline=binding.deadline,
                plugin=binding.plugin,
            )
        finally:
            self._call = None

    def _log_outcome(
        self, changes: Sequence[AnyChange], outcome: Mapping[Hashable, ProviderError | None]
    ) -> None:
        word = noun(self.binding.role)
        where = {"table": self.binding.name} if self.binding.role.endswith(OF_SUBSYSTEM) else {}
        made = [change for change in changes if outcome[change.key] is None]
        if len(made) > _LISTED:
            self._log.info("table.changed", table=self.binding.name, changes=len(made))
        else:
            for change in made:
                self._log.info(f"{word}.{_PAST[change.verb]}", key=key_text(change.key), **where)
        for change in changes:
            error = outcome[change.key]
            if error is None:
                continue
            before = self._retries.pending.get(change.key)
            if before is None or str(before.error) != str(error):
                self._log.warning(
                    f"{word}.{change.verb}.failed", key=key_text(change.key), error=str(error), **where
                )
