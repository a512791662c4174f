"""What may happen to a router's cloud half, as rules; what must hold all the same, as invariants.

The long run: `STORM_EXAMPLES=400 STORM_STEPS=60 pytest -m cloud tests/cloud/test_chaos_oci.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.cloud.account import Account, Hop
from tests.cloud.chaos_process import HOLD_DOWN, Death, Mode, Side
from tests.cloud.chaos_verdict import faults, leftovers
from tests.cloud.chaos_world import Ambush, World
from tests.cloud.storm_time import WatchedLoop

from routerd_lab.clouds.trouble import Kind, Lag, Trouble

_SLOW = {Phase.shrink, Phase.explain}

STORM = settings(
    max_examples=int(os.environ.get("STORM_EXAMPLES", "12")),
    stateful_step_count=int(os.environ.get("STORM_STEPS", "14")),
    deadline=None,
    # A story is told whole; to make it short takes minutes: STORM_SHRINK=1.
    phases=[each for each in Phase if os.environ.get("STORM_SHRINK") or each not in _SLOW],
    suppress_health_check=list(HealthCheck),
)

SIDES = st.sampled_from(["before", "after"])
HOPS = st.sampled_from(["elsewhere", "to us"])
MARKS = st.sampled_from(["a", "b"])
MODES = st.sampled_from(["auto", "auto", "auto", "plan"])
NUMBERS = st.integers(0, 7)
KINDS = st.sampled_from([None, Kind.THROTTLE, Kind.FAIL, Kind.FAIL_AFTER, Kind.CLOSE, Kind.LOSE])


class Chaos(RuleBasedStateMachine):
    """A storm over one account; a subclass says which."""

    account: ClassVar[Any]  # Any: a class that makes an `Account`

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory(prefix="storm-")
        self.world = World(account=self._account(), directory=Path(self._directory.name))
        self.aggregate = self.begun = self.lagging = self.meddled = False
        self._open = contextlib.AsyncExitStack()
        self._runner = asyncio.Runner(loop_factory=WatchedLoop)
        self._runner.get_loop().set_exception_handler(_unless_dead)
        self.run(self._open.enter_async_context(self.world.served()))

    def _account(self) -> Account:
        made: Account = type(self).account()
        return made

    def run(self, work: Coroutine[Any, Any, Any]) -> None:
        self._runner.run(work)

    # --- our side -----------------------------------------------------------------------------------------

    @initialize(
        switch=st.booleans(), mode=MODES, aggregate=st.booleans(), foreign=st.sets(NUMBERS, max_size=2)
    )
    def begin(self, switch: bool, mode: Mode, aggregate: bool, foreign: set[int]) -> None:
        account = self.world.account
        self.world.meddle(lambda: account.set_switch(switch))
        for number in sorted(foreign):
            self.world.meddle(
                partial(account.place, self._table(number), self._prefix(number), "elsewhere", "a")
            )
        self.aggregate = aggregate
        self.run(self.world.start(mode, aggregate=aggregate))
        self.begun = True

    @rule(numbers=st.sets(NUMBERS))
    def want(self, numbers: set[int]) -> None:
        self.run(self.world.want(self._prefix(number) for number in numbers))

    @rule(seconds=st.sampled_from([1.0, 20.0, 61.0, 130.0, 400.0, 1000.0]))
    def wait(self, seconds: float) -> None:
        self.run(self.world.advance(seconds))

    @precondition(lambda self: self.world.process is None)
    @rule(mode=MODES, aggregate=st.booleans())
    def start(self, mode: Mode, aggregate: bool) -> None:
        self.aggregate = aggregate
        self.run(self.world.start(mode, aggregate=aggregate))

    @precondition(lambda self: self.world.process is not None)
    @rule(mode=MODES, aggregate=st.booleans())
    def restart(self, mode: Mode, aggregate: bool) -> None:
        self.aggregate = aggregate
        self.run(self.world.stop())
        self.run(self.world.start(mode, aggregate=aggregate))

    @rule()
    def kill(self) -> None:
        self.run(self.world.kill())

    @rule(countdown=st.integers(1, 4), side=SIDES, write=st.booleans())
    def kill_at_a_call(self, countdown: int, side: Side, write: bool) -> None:
        self.world.kill_at(countdown, side, write=write)

    @rule(countdown=st.integers(1, 4), side=SIDES)
    def kill_at_a_commit(self, countdown: int, side: Side) -> None:
        """Killed with the journal written and the cloud not yet, or the other way round."""
        self.world.disk.dies_in, self.world.disk.side = countdown, side

    @rule(full=st.booleans())
    def fill_the_disk(self, full: bool) -> None:
        self.world.disk.full = full

    # --- the cloud's side -----------------------------------------------------------------------------------

    @rule(kind=KINDS, number=NUMBERS, skip=st.integers(0, 2), times=st.integers(1, 3))
    def trouble(self, kind: Kind | None, number: int, skip: int, times: int) -> None:
        if kind is None:
            self.world.account.troubles.clear()
            self.lagging = False
            return
        calls = ("*", *self.world.account.calls)
        operation = calls[number % len(calls)]
        self.world.account.troubles.add(Trouble(kind=kind, operation=operation, skip=skip, times=times))

    @rule(reads=st.integers(1, 3))
    def lag(self, reads: int) -> None:
        if self.meddled and not self._knows_better:
            return
        self.lagging = True
        self.world.account.troubles.lag(Lag(reads=reads, operation=self.world.account.lags))

    @rule(times=st.integers(1, 2))
    def delay(self, times: int) -> None:
        """The next writes have their effect long after everybody gave up on them."""
        self.world.delaying = times

    @rule()
    def deliver(self) -> None:
        self.run(self.world.release())

    # --- what somebody else does ---------------------------------------------------------------------------

    @rule(number=NUMBERS, hop=HOPS, mark=MARKS)
    def somebody_places(self, number: int, hop: Hop, mark: str) -> None:
        self._meddle(self._placing(number, hop, mark))

    @rule(number=NUMBERS)
    def somebody_removes(self, number: int) -> None:
        self._meddle(self._removing(number))

    @rule(what=st.sampled_from(["touch", "switch on", "switch off", "clock on", "clock back"]), mark=MARKS)
    def oddity(self, what: str, mark: str) -> None:
        """Somebody changes something else, or NTP sets the clock."""
        account = self.world.account
        if what == "touch":
            self._meddle(partial(account.touch, mark))
        elif what.startswith("switch"):
            self._meddle(partial(account.set_switch, what == "switch on"))
        else:
            self.world.clock.jump(timedelta(hours=30 if what == "clock on" else -30))

    @rule(
        number=NUMBERS,
        hop=st.sampled_from(["elsewhere", "to us", "nowhere"]),
        mark=MARKS,
        countdown=st.integers(1, 3),
        side=SIDES,
        write=st.booleans(),
    )
    def somebody_waits_for_a_call(
        self, number: int, hop: Any, mark: str, countdown: int, side: Side, write: bool
    ) -> None:
        """Somebody acts between our reading and our writing."""
        deed = self._removing(number) if hop == "nowhere" else self._placing(number, hop, mark)
        ambush = Ambush(
            countdown=countdown, side=side, deed=partial(self._meddle, deed), write=write, somebodys=True
        )
        self.world.ambushes.append(ambush)

    @rule(
        number=NUMBERS,
        hop=st.sampled_from(["elsewhere", "elsewhere", "to us", "nowhere"]),
        countdown=st.integers(1, 4),
        making=st.booleans(),
    )
    def somebody_races(self, number: int, hop: Any, countdown: int, making: bool) -> None:
        """What we are just making, or deleting, becomes somebody else's amid it."""
        world, prefix = self.world, self._prefix(number)
        if not world.account.conditional:
            # Only the reads of a pass count: the loop's own, and the plugin's last.
            countdown = 1 + countdown % 2
        if making:
            self.run(world.want(world.wanted - {prefix}))
            self.somebody_waits_for_a_call(number, hop, "a", countdown, "before", False)
            self.run(world.want(world.wanted | {prefix}))
            return
        self.run(world.want(world.wanted | {prefix}))
        self.run(world.want(world.wanted - {prefix}))
        self.run(world.advance(HOLD_DOWN - 1.0))
        self.somebody_waits_for_a_call(number, hop, "a", countdown, "before", False)
        self.run(world.advance(5.0))

    def _meddle(self, deed: Callable[[], None]) -> None:
        # Who is shown what was there before, and has no condition to write under, cannot know better.
        if self._knows_better or not self.lagging:
            self.meddled = True
            self.world.meddle(deed)

    @property
    def _knows_better(self) -> bool:
        account = self.world.account
        return account.conditional and account.creates_conditionally

    def _placing(self, number: int, hop: Hop, mark: str) -> Callable[[], None]:
        return partial(self.world.account.place, self._table(number), self._prefix(number), hop, mark)

    def _removing(self, number: int) -> Callable[[], None]:
        return partial(self.world.account.remove, self._table(number), self._prefix(number))

    def _prefix(self, number: int) -> IPv4Network:
        account = self.world.account
        pool = (*account.prefixes, *account.inside)
        return pool[number % len(pool)]

    def _table(self, number: int) -> str:
        tables = self.world.account.tables
        return tables[number // 4 % len(tables)]

    # --- what must hold -------------------------------------------------------------------------------------

    @invariant()
    def nothing_wrong_was_done(self) -> None:
        assert not self.world.wrongs, self._story(self.world.wrongs)

    def teardown(self) -> None:
        try:
            if self.begun and not self.world.wrongs:
                self.run(self._end())
        finally:
            self._runner.run(self._open.aclose())
            self._runner.close()
            self._directory.cleanup()

    async def _end(self) -> None:
        world = self.world
        await world.calm(self.aggregate)
        note(world.stories.getvalue())
        assert not world.wrongs, self._story(world.wrongs)
        assert not (found := list(faults(world))), self._story(found)
        writes = world.writes
        await world.advance(3600.0)
        assert world.writes == writes, self._story(["an hour in which nothing changed was not quiet"])
        removed = await world.down()
        assert not world.wrongs, self._story(world.wrongs)
        assert not (found := [*removed.failed, *leftovers(world)]), self._story(found)

    def _story(self, found: list[str]) -> str:
        return "\n".join([self.world.stories.getvalue()[-12000:], "WRONG:", *found])


def _unless_dead(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if not isinstance(context.get("exception"), Death):
        loop.default_exception_handler(context)
