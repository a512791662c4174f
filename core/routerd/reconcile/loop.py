"""The only loop: observe, compare, apply, report, and look again.

Tables are grouped in lanes. The host's tables form one lane, each cloud one of its own, so that a
slow API never keeps a kernel route waiting. A lane handles one pass at a time; events only set a
flag that makes it look again.
"""

from __future__ import annotations

import asyncio
import operator
import random
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import compress
from typing import Any

import attrs

from routerd.errors import ProviderError
from routerd.reconcile.desired import Desired, DesiredTable
from routerd.reconcile.diff import diff
from routerd.reconcile.guard import content_of, failures_of, guarded
from routerd.reconcile.hold_down import HoldDown
from routerd.reconcile.order import AnyChange, Step, ordered
from routerd.reconcile.retry import Pending, Retries
from routerd.reconcile.wording import key_text, noun
from routerd.spi import Clock, Logger, Table

AnyTable = Table[Any, Any]  # Any: keys and values differ by table; the engine only compares them

RESYNC = 120.0
"""Seconds after which a lane looks at the world although nothing has asked for it."""

_WHOLE_TABLE = "(whole table)"


@attrs.frozen(kw_only=True)
class Binding:
    """A table put into the loop.

    `role` is its rank (see `order.RANKS`), `lane` the group it belongs to, `deadline` the seconds
    that one call may take. `permits` drops changes that are none of our business, which the table
    itself cannot tell: what a journal does not say is ours is not deleted. `gate` holds back changes
    that are wanted and may not be made yet; they stay planned. None lets everything through.
    `quiet` seconds pass between two observations when nothing has changed on our side: reading a
    cloud costs money and quota, so it is not read at each wake-up. What is desired no longer is
    deleted only after `hold_down` seconds, so that what comes back soon is never touched.
    """

    name: str
    role: str
    table: AnyTable
    lane: str = "host"
    deadline: float = 30.0
    permits: Callable[[AnyChange], bool] | None = None
    gate: Callable[[AnyChange], bool] | None = None
    noticed: Callable[[Sequence[AnyChange], bool], None] | None = None
    quiet: float = 0.0
    hold_down: float = 0.0


@attrs.frozen(kw_only=True)
class TableReport:
    """How a table stood at the end of its last pass.

    `planned` are changes that were found and not made (a dry run, a gate that is closed), `refused`
    those that the table knows it would refuse, each with the reason.
    `surplus` counts what is there, is not desired, and is not deleted yet; not in it is what is `held`
    down for a time on purpose.
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

    @property
    def settled(self) -> bool:
        """Say whether the world is as desired."""
        open_ends = bool(self.pending) or bool(self.planned) or bool(self.surplus)
        return self.readable and not open_ends and self.in_sync == self.desired


@attrs.define
class _Lane:
    name: str
    bindings: list[Binding]
    woken: asyncio.Event = attrs.field(factory=asyncio.Event)
    passing: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    retries: dict[str, Retries] = attrs.field(factory=dict)
    reports: dict[str, TableReport] = attrs.field(factory=dict)
    last_desired: dict[str, tuple[Mapping[Hashable, object], bool]] = attrs.field(factory=dict)
    last_observed: dict[str, float] = attrs.field(factory=dict)
    hold_downs: dict[str, HoldDown] = attrs.field(factory=dict)
    foreseen: dict[str, set[Hashable]] = attrs.field(factory=dict)
    late: dict[str, set[Hashable]] = attrs.field(factory=dict)
    passes: int = 0
    last_duration: float = 0.0


DeriveFunction = Callable[[], Desired | None]


class Loop:
    """Keeps the tables at what `derive` says; `derive` returns none while nothing is known yet."""

    def __init__(
        self,
        bindings: Sequence[Binding],
        *,
        derive: DeriveFunction,
        clock: Clock,
        log: Logger,
        on_pass: Callable[[], None] = lambda: None,
        jitter: Callable[[], float] = random.random,
        resync: float = RESYNC,
    ) -> None:
        self._derive = derive
        self._clock = clock
        self._log = log
        self._on_pass = on_pass
        self._jitter = jitter
        self._resync = resync
        self._lanes: dict[str, _Lane] = {}
        for binding in bindings:
            self.bind(binding)

    def bind(self, binding: Binding) -> None:
        """Add a table; a lane that is new must be run by `run_lane`."""
        lane = self._lanes.setdefault(binding.lane, _Lane(binding.lane, []))
        if any(binding.name == other.name for each in self._lanes.values() for other in each.bindings):
            raise ValueError(f"table {binding.name} is bound twice")
        lane.bindings.append(binding)

    def bindings(self) -> tuple[Binding, ...]:
        """Return every table that is bound."""
        return tuple(binding for lane in self._lanes.values() for binding in lane.bindings)

    @property
    def lanes(self) -> tuple[str, ...]:
        """Return the names of the lanes."""
        return tuple(self._lanes)

    def wake(self, lane: str | None = None) -> None:
        """Make one lane, or all, look at the world soon; never blocks."""
        for each in self._lanes.values() if lane is None else (self._lanes[lane],):
            each.woken.set()

    def look(self, table: str) -> None:
        """Make the lane of a table read it at the next pass, however short ago it was read."""
        for lane in self._lanes.values():
            if lane.last_observed.pop(table, None) is not None:
                lane.woken.set()

    @asynccontextmanager
    async def between_passes(self, table: str) -> AsyncIterator[Binding]:
        """Yield a table for somebody who has a change of his own to make: its lane makes no pass meanwhile.

        `KeyError` when it is not bound. Afterwards the lane reads it before it changes anything.
        """
        found = [
            (lane, each) for lane in self._lanes.values() for each in lane.bindings if each.name == table
        ]
        if not found:
            raise KeyError(table)
        lane, binding = found[0]
        async with lane.passing:
            try:
                yield binding
            finally:
                self.look(table)

    def hurry(self) -> None:
        """Forget backoff and look at everything again at once."""
        for lane in self._lanes.values():
            lane.last_observed.clear()
            for retries in lane.retries.values():
                retries.hurry()
        self.wake()

    def ease(self, role: str) -> None:
        """Let failed keys of tables of a role be tried at the next pass: what they lacked may be there."""
        for lane in self._lanes.values():
            for binding in lane.bindings:
                if binding.role == role and binding.name in lane.retries:
                    lane.retries[binding.name].ease()

    def reports(self) -> dict[str, TableReport]:
        """Return the last report of each table."""
        return {name: report for lane in self._lanes.values() for name, report in lane.reports.items()}

    def passes(self) -> dict[str, tuple[int, float]]:
        """Return how many passes each lane has made and how many seconds the last one took."""
        return {lane.name: (lane.passes, lane.last_duration) for lane in self._lanes.values()}

    async def run_lane(self, name: str) -> None:
        """Run passes of one lane until cancelled."""
        lane = self._lanes[name]
        while True:
            lane.woken.clear()
            changed = await self.run_once(name)
            if changed:
                # What was just made is looked at again: the second pass must find nothing to do.
                lane.woken.set()
            await self._rest(lane)

    async def run_once(self, name: str, *, dry_run: bool = False) -> bool:
        """Make one pass of one lane; return whether anything was changed successfully."""
        lane = self._lanes[name]
        async with lane.passing:
            return await self._pass(lane, dry_run=dry_run)

    async def _pass(self, lane: _Lane, *, dry_run: bool) -> bool:
        began = self._clock.monotonic()
        desired = self._derive()
        if desired is None:
            return False
        changes: dict[str, list[AnyChange]] = {}
        planned: dict[str, list[AnyChange]] = {}
        for binding in lane.bindings:
            found = await self._compare(lane, binding, desired, dry_run=dry_run)
            if found is None:
                continue
            opened = [not dry_run and (binding.gate is None or binding.gate(each)) for each in found]
            changes[binding.name] = list(compress(found, opened))
            planned[binding.name] = [each for each, may in zip(found, opened, strict=True) if not may]
        self._note_planned(lane, planned)
        if dry_run:
            return False
        roles = {binding.name: binding.role for binding in lane.bindings}
        changed = False
        for step in ordered(changes, roles, lane.late):
            binding = next(b for b in lane.bindings if b.name == step.table)
            changed |= await self._apply(lane, binding, step)
        lane.passes += 1
        lane.last_duration = self._clock.monotonic() - began
        self._on_pass()
        return changed

    async def _rest(self, lane: _Lane) -> None:
        """Wait until the lane is woken or has something to try again."""
        ends = [
            asyncio.ensure_future(self._clock.sleep(self._pause(lane))),
            asyncio.ensure_future(lane.woken.wait()),
        ]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
            await asyncio.wait(ends)

    def _pause(self, lane: _Lane) -> float:
        now = self._clock.monotonic()
        due = [_next_attempt(retries) for retries in lane.retries.values()]
        due += [hold_down.ends() for hold_down in lane.hold_downs.values()]
        seconds = min((at - now for at in due if at is not None), default=self._resync)
        return max(0.05, min(seconds, self._resync))

    async def _compare(
        self, lane: _Lane, binding: Binding, desired: Desired, *, dry_run: bool
    ) -> list[AnyChange] | None:
        """Return the changes of one table, or none when it cannot or need not be read now."""
        want = desired.table(binding.name)
        retries = lane.retries.setdefault(binding.name, Retries())
        now = self._clock.monotonic()
        if not retries.due(_WHOLE_TABLE, now) or self._is_quiet(lane, binding, want, retries, now):
            return None
        # A dry run says what is done in the end, not what waits for now.
        hold_down = lane.hold_downs.setdefault(binding.name, HoldDown(binding.hold_down))
        try:
            async with guarded(self._log, table=binding.name, call="observe", deadline=binding.deadline):
                observed = content_of(await binding.table.observe())
                changes = _changes(binding, want, observed)
                due = changes if dry_run else hold_down.filtered(changes, now)
                foreseen = _foreseen(binding, due)
                made = [change for change in due if change.verb != "delete"]
                late = _foreseen(binding, made).keys() - foreseen.keys()
        except ProviderError as error:
            self._unreadable(lane, binding, error)
            return None
        retries.record({_WHOLE_TABLE: None}, now=now, jitter=0.0)
        lane.last_desired[binding.name] = dict(want.values), want.complete
        lane.last_observed[binding.name] = now
        if binding.noticed is not None and not dry_run:
            binding.noticed(changes, want.complete)
        found, changes = len(changes), due
        retries.reconsider({change.key: change.after for change in changes})
        retries.forget_settled({change.key for change in changes})
        lane.late[binding.name] = set(late)
        self._refuse(lane, binding, changes, foreseen, dry_run=dry_run)
        surplus = sum(change.verb == "delete" for change in changes)
        lane.reports[binding.name] = TableReport(
            name=binding.name,
            desired=len(want.values),
            observed=len(observed),
            in_sync=len(want.values) - (len(changes) - surplus),
            surplus=surplus,
            held=found - len(changes),
            pending=dict(retries.pending),
            refused=tuple((change, foreseen[change.key]) for change in changes if change.key in foreseen),
            complete=want.complete,
        )
        return [change for change in changes if change.key not in foreseen and retries.due(change.key, now)]

    def _refuse(
        self,
        lane: _Lane,
        binding: Binding,
        changes: Sequence[AnyChange],
        foreseen: Mapping[Hashable, ProviderError],
        *,
        dry_run: bool,
    ) -> None:
        """Count what is foreseen to fail as failed, and let go of what is no longer."""
        retries, now = lane.retries[binding.name], self._clock.monotonic()
        for key in lane.foreseen.get(binding.name, set()) - foreseen.keys():
            retries.pending.pop(key, None)
        lane.foreseen[binding.name] = set(foreseen)
        failing = [each for each in changes if each.key in foreseen and retries.due(each.key, now)]
        if not failing or dry_run:
            return
        outcome = {change.key: foreseen[change.key] for change in failing}
        self._log_outcome(binding, failing, outcome, retries)
        wanted = {change.key: change.after for change in failing}
        retries.record(outcome, now=now, jitter=self._jitter(), wanted=wanted)

    def _is_quiet(
        self,
        lane: _Lane,
        binding: Binding,
        want: DesiredTable,
        retries: Retries,
        now: float,
    ) -> bool:
        looked = lane.last_observed.get(binding.name)
        if not binding.quiet or looked is None:
            return False
        if any(entry.next_attempt <= now for entry in retries.pending.values()):
            return False
        ends = lane.hold_downs[binding.name].ends()
        if ends is not None and ends <= now:
            return False
        report = lane.reports[binding.name]
        unchanged = lane.last_desired[binding.name] == (dict(want.values), want.complete)
        accounted = report.settled or bool(retries.pending) or bool(report.planned)
        return unchanged and accounted and now - looked < binding.quiet

    def _unreadable(self, lane: _Lane, binding: Binding, error: ProviderError) -> None:
        retries = lane.retries[binding.name]
        before = retries.pending.get(_WHOLE_TABLE)
        retries.record({_WHOLE_TABLE: error}, now=self._clock.monotonic(), jitter=self._jitter())
        if before is None or str(before.error) != str(error):
            self._log.warning("table.unreadable", table=binding.name, error=str(error))
        last = lane.reports.get(binding.name, TableReport(name=binding.name))
        lane.reports[binding.name] = attrs.evolve(
            last, error=str(error), readable=False, pending=dict(retries.pending)
        )

    async def _apply(self, lane: _Lane, binding: Binding, step: Step) -> bool:
        retries = lane.retries[binding.name]
        failures: Mapping[Hashable, ProviderError]
        try:
            async with guarded(self._log, table=binding.name, call="apply", deadline=binding.deadline):
                failures = failures_of(await binding.table.apply(step.changes))
        except ProviderError as error:
            failures = {change.key: error for change in step.changes}
        wanted = {change.key: change.after for change in step.changes}
        outcome = {key: retries.judged(key, after, failures.get(key)) for key, after in wanted.items()}
        self._log_outcome(binding, step.changes, outcome, retries)
        retries.record(outcome, now=self._clock.monotonic(), jitter=self._jitter(), wanted=wanted)
        made = sum(1 for error in outcome.values() if error is None)
        report = lane.reports[binding.name]
        done = [change.verb for change in step.changes if outcome[change.key] is None]
        lane.reports[binding.name] = attrs.evolve(
            report,
            pending=dict(retries.pending),
            in_sync=report.in_sync + len(done) - done.count("delete"),
            surplus=report.surplus - done.count("delete"),
            observed=report.observed + done.count("create") - done.count("delete"),
        )
        return made > 0

    def _log_outcome(
        self,
        binding: Binding,
        changes: Sequence[AnyChange],
        outcome: Mapping[Hashable, ProviderError | None],
        retries: Retries,
    ) -> None:
        made = [change for change in changes if outcome[change.key] is None]
        if len(made) > 20:
            self._log.info("table.changed", table=binding.name, changes=len(made))
        else:
            for change in made:
                self._log.info(f"{noun(binding.role)}.{_PAST[change.verb]}", key=key_text(change.key))
        for change in changes:
            error = outcome[change.key]
            if error is None:
                continue
            before = retries.pending.get(change.key)
            if before is None or str(before.error) != str(error):
                self._log.warning(
                    f"{noun(binding.role)}.{change.verb}.failed", key=key_text(change.key), error=str(error)
                )

    def _note_planned(self, lane: _Lane, changes: Mapping[str, list[AnyChange]]) -> None:
        for name, planned in changes.items():
            if name in lane.reports:
                lane.reports[name] = attrs.evolve(lane.reports[name], planned=tuple(planned))


def _changes(binding: Binding, want: DesiredTable, observed: Mapping[Hashable, object]) -> list[AnyChange]:
    agrees = getattr(binding.table, "agrees", operator.eq)
    changes = diff(want.values, observed, deletable=want.complete, agrees=agrees)
    return changes if binding.permits is None else list(filter(binding.permits, changes))


def _foreseen(binding: Binding, changes: Sequence[AnyChange]) -> Mapping[Hashable, ProviderError]:
    foresee = getattr(binding.table, "foresee", None)
    return failures_of(foresee(changes)) if foresee is not None and changes else {}


def _next_attempt(retries: Retries) -> float | None:
    """Return when a table has something to try; one that cannot be read has nothing before that."""
    whole = retries.pending.get(_WHOLE_TABLE)
    return retries.next_attempt() if whole is None else whole.next_attempt


_PAST = {"create": "created", "replace": "replaced", "delete": "deleted"}
