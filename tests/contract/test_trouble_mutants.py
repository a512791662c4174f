"""The rules about trouble are sharp: a table or provider that breaks one is caught by it, and by no luck."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from routerd.errors import PermanentError, ProviderError, TransientError
from routerd.model.change import Change
from routerd.spi import PluginContext, Provider, apply_each
from routerd.testing import outside
from routerd.testing.awaits import cancelled_at, counted, killed_at, spread
from routerd.testing.context import make_context
from routerd.testing.contracts import ProviderContract, Samples
from routerd.testing.contracts.trouble import TroubleRules
from routerd.testing.faults import FaultPlan, every_fault

Changes = Sequence[Change[str, int]]
SAMPLES: Samples[str, int] = Samples(values={"a": 1, "b": 2})


@attrs.define
class World:
    """What outlives a process; `hidden` are things that no observation shows."""

    content: dict[str, int] = attrs.field(factory=dict)
    hidden: set[str] = attrs.field(factory=set)


async def outer(name: str) -> None:
    """Make a call to the world: it may fail, and it takes its time."""
    outside.reach(name)
    await asyncio.sleep(0)


class Proper:
    """A table that keeps every rule; one object is one process."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def observe(self) -> Mapping[str, int]:
        await outer("observe")
        return dict(self.world.content)

    async def apply(self, changes: Changes) -> Mapping[str, ProviderError]:
        return await apply_each(changes, self.make)

    async def make(self, change: Change[str, int]) -> None:
        await outer(f"{change.verb} {change.key}")
        if change.after is None:
            self.world.content.pop(change.key, None)
        else:
            self.world.content[change.key] = change.after
        await asyncio.sleep(0)


class _TwoSteps(Proper):
    """Reserves a key first; a call that ends in between leaves the reservation, which nobody sees."""

    async def make(self, change: Change[str, int]) -> None:
        if change.after is not None and self.world.content.get(change.key) == change.after:
            return
        if change.key in self.world.hidden:
            raise PermanentError(f"{change.key}: reserved by somebody")
        self.world.hidden.add(change.key)
        await super().make(change)
        self.world.hidden.discard(change.key)


class _TwoStepsBack(_TwoSteps):
    """The same, with a way back that only a living process can go."""

    async def make(self, change: Change[str, int]) -> None:
        try:
            await super().make(change)
        except BaseException:
            self.world.hidden.discard(change.key)
            raise


class _Busy(Proper):
    busy = False

    async def make(self, change: Change[str, int]) -> None:
        if self.busy:
            raise TransientError("busy; will retry")
        self.busy = True
        with contextlib.suppress(TransientError):
            await super().make(change)
            self.busy = False


class _Rebuilding(Proper):
    """Takes the world apart to look at it."""

    async def observe(self) -> Mapping[str, int]:
        found = dict(self.world.content)
        self.world.content.clear()
        await outer("observe")
        self.world.content.update(found)
        return found


class _Dying(Proper):
    """A deletion marks the key first; the mark hides it, and stops the next deletion."""

    async def observe(self) -> Mapping[str, int]:
        found = await super().observe()
        return {key: value for key, value in found.items() if key not in self.world.hidden}

    async def make(self, change: Change[str, int]) -> None:
        if change.after is not None:
            self.world.hidden.discard(change.key)
            return await super().make(change)
        if change.key in self.world.hidden:
            raise TransientError(f"{change.key}: is being deleted")
        self.world.hidden.add(change.key)
        await super().make(change)
        self.world.hidden.discard(change.key)
        return None


class _Remembering(Proper):
    """Shows what it has made itself, and not what the world has."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.mine: dict[str, int] = {}

    async def observe(self) -> Mapping[str, int]:
        await outer("observe")
        return dict(self.mine)

    async def make(self, change: Change[str, int]) -> None:
        await super().make(change)
        if change.after is None:
            self.mine.pop(change.key, None)
        else:
            self.mine[change.key] = change.after


class _Locking(Proper):
    """Locks the world while it changes it; a killed process never unlocks."""

    async def apply(self, changes: Changes) -> Mapping[str, ProviderError]:
        if "lock" in self.world.hidden:
            return {change.key: TransientError("locked") for change in changes}
        self.world.hidden.add("lock")
        try:
            return await super().apply(changes)
        finally:
            self.world.hidden.discard("lock")


class _Untranslated(Proper):
    async def make(self, change: Change[str, int]) -> None:
        await asyncio.to_thread(Path("/dev/null").read_bytes)
        await super().make(change)


class _Silent(Proper):
    async def make(self, change: Change[str, int]) -> None:
        with contextlib.suppress(ProviderError):
            await super().make(change)


class _SilentDeletion(Proper):
    async def make(self, change: Change[str, int]) -> None:
        try:
            await super().make(change)
        except ProviderError:
            if change.after is not None:
                raise


class _Stopping(Proper):
    """Stops at the first failure and says nothing about the rest."""

    async def apply(self, changes: Changes) -> Mapping[str, ProviderError]:
        for change in changes:
            try:
                await self.make(change)
            except ProviderError as error:
                return {change.key: error}
        return {}


class _Sticky(Proper):
    broken = False

    async def make(self, change: Change[str, int]) -> None:
        if self.broken:
            raise TransientError("the connection is gone")
        try:
            await super().make(change)
        except ProviderError:
            self.broken = True
            raise


class _Partial(Proper):
    """Takes a failed reading for an empty world."""

    async def observe(self) -> Mapping[str, int]:
        try:
            return await super().observe()
        except ProviderError:
            return {}


class _UntranslatedReading(Proper):
    async def observe(self) -> Mapping[str, int]:
        await asyncio.to_thread(Path("/dev/null").read_bytes)
        return await super().observe()


CANCEL = "a_call_that_is_cancelled_at_any_await_leaves_nothing_that_observe_cannot_see"
CANCEL_DELETION = "a_deletion_that_is_cancelled_at_any_await_can_be_made_again"
KILL = "the_heir_of_a_killed_process_adopts_what_it_left"
CHANGE = "any_call_outside_may_fail_while_changes_are_made"
READ = "any_call_outside_may_fail_while_the_table_is_read"
DELETE = "any_call_outside_may_fail_while_keys_are_deleted"

TABLES: tuple[tuple[type[Proper], str], ...] = (
    (_TwoSteps, CANCEL),
    (_Busy, CANCEL),
    (_Rebuilding, CANCEL),
    (_Dying, CANCEL_DELETION),
    (_Busy, CANCEL_DELETION),
    (_TwoStepsBack, KILL),
    (_Remembering, KILL),
    (_Locking, KILL),
    (_Untranslated, CHANGE),
    (_Silent, CHANGE),
    (_Stopping, CHANGE),
    (_Sticky, CHANGE),
    (_Partial, READ),
    (_UntranslatedReading, READ),
    (_SilentDeletion, DELETE),
    (_Stopping, DELETE),
)


def rules(suite: object) -> Mapping[str, Any]:
    """Return the rules that the class of a suite adds, by name."""
    found = {name: getattr(suite, name) for name in vars(type(suite)) if name.startswith("test_")}
    return {name.removeprefix("test_"): rule for name, rule in found.items()}


async def broken(found: Mapping[str, Any], given: Callable[[], Mapping[str, Any]]) -> set[str]:
    """Return the names of the rules that do not hold; `given` makes the fixtures for each."""
    names = set()
    for name, rule in found.items():
        values = given()
        try:
            done = rule(**{each: values[each] for each in inspect.signature(rule).parameters})
            if inspect.isawaitable(done):
                await done
        except asyncio.CancelledError:
            raise
        except BaseException:  # noqa: BLE001 - pytest's failures are not exceptions to others
            names.add(name)
    return names


def of_table(make: Callable[[World], Proper]) -> Callable[[], Mapping[str, Any]]:
    def given() -> Mapping[str, Any]:
        world = World()

        @contextlib.asynccontextmanager
        async def opened(*, prepared: bool = True) -> AsyncIterator[Proper]:
            assert isinstance(prepared, bool)
            yield make(world)

        async def kill() -> None:
            return

        return {"open_table": opened, "table_samples": SAMPLES, "kill": kill}

    return given


@pytest.mark.parametrize(("mutant", "rule"), TABLES, ids=lambda each: getattr(each, "__name__", each))
async def test_a_table_that_breaks_a_rule_is_caught_by_it(mutant: type[Proper], rule: str) -> None:
    assert rule in await broken(rules(TroubleRules()), of_table(mutant))


async def test_a_proper_table_breaks_none() -> None:
    assert await broken(rules(TroubleRules()), of_table(Proper)) == set()


async def test_a_kill_finds_what_no_cancellation_finds() -> None:
    assert await broken(rules(TroubleRules()), of_table(_TwoStepsBack)) == {KILL}


def test_every_rule_about_tables_catches_somebody() -> None:
    assert {rule for _, rule in TABLES} == set(rules(TroubleRules()))


# --- the start of a provider -------------------------------------------------------------------------------


class Started:
    """A provider that keeps every rule: its start marks the state directory, its end takes the mark away."""

    def __init__(self, context: PluginContext) -> None:
        self.mark = context.state_dir / "started"

    async def start(self) -> None:
        try:
            await self.leave_mark()
        except OSError as error:
            raise TransientError("the mark cannot be written; check the disk") from error

    async def leave_mark(self) -> None:
        await asyncio.to_thread(self.mark.write_text, "x")

    async def aclose(self) -> None:
        self.mark.unlink(missing_ok=True)


class _Once(Started):
    """Its end takes away the mark of a start that has succeeded, and of no other."""

    done = False

    async def leave_mark(self) -> None:
        with self.mark.open("x"):
            await asyncio.sleep(0)
        self.done = True

    async def aclose(self) -> None:
        if self.done:
            await super().aclose()


class _Raw(Started):
    async def start(self) -> None:
        await self.leave_mark()


STARTS = (
    (_Once, "a_start_that_is_cancelled_at_any_await_leaves_nothing_behind"),
    (_Raw, "any_call_outside_may_fail_during_the_start"),
)


def of_provider(make: type[Started], tmp_path: Path) -> Callable[[], Mapping[str, Any]]:
    numbers = iter(range(sys.maxsize))

    def given() -> Mapping[str, Any]:
        place = tmp_path / str(next(numbers))
        place.mkdir()
        provider = Provider(kind="x", create=lambda context, _: make(context))
        return {"provider": provider, "context": make_context(place), "options": provider.options()}

    return given


def about_starts() -> Mapping[str, Any]:
    found = {name: rule for name, rule in rules(ProviderContract()).items() if name in dict(STARTS).values()}
    assert len(found) == len(STARTS)
    return found


@pytest.mark.parametrize(("mutant", "rule"), STARTS)
async def test_a_provider_whose_start_breaks_a_rule_is_caught_by_it(
    mutant: type[Started], rule: str, tmp_path: Path
) -> None:
    assert await broken(about_starts(), of_provider(mutant, tmp_path)) == {rule}


async def test_a_proper_start_breaks_none(tmp_path: Path) -> None:
    assert await broken(about_starts(), of_provider(Started, tmp_path)) == set()


# --- the means ---------------------------------------------------------------------------------------------


async def test_each_audited_call_fails_once_in_threads_too(tmp_path: Path) -> None:
    def work() -> None:
        (tmp_path / "one").write_text("1")
        (tmp_path / "one").rename(tmp_path / "two")

    outcomes = []
    for plan in every_fault():
        with outside.failing(plan):
            try:
                await asyncio.to_thread(work)
            except OSError as error:
                outcomes.append(str(error))
    assert len(outcomes) == 2
    assert all("planned failure of call" in each for each in outcomes)
    assert [call.split()[0] for call in plan.calls] == ["open", "os.rename"]


async def test_modules_and_the_tasks_of_others_are_not_counted(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def other() -> None:
        await go.wait()
        (tmp_path / "other").write_text("x")

    task = asyncio.create_task(other())
    with outside.failing(FaultPlan(1)) as _:
        Path(inspect.__file__).read_bytes()
        go.set()
        await task
    assert (tmp_path / "other").exists()


async def test_a_call_is_cancelled_at_the_await_that_is_asked_for() -> None:
    seen: list[int] = []

    async def work() -> None:
        for number in range(1, 4):
            seen.append(number)
            await asyncio.sleep(0)

    for number, expected in ((1, [1]), (3, [1, 2, 3])):
        seen.clear()
        assert await cancelled_at(work(), number, deadline=30)
        assert seen == expected
    assert not await cancelled_at(work(), 4, deadline=30)


@pytest.mark.parametrize(
    ("total", "most", "places"),
    [(0, 4, []), (1, 4, [1]), (4, 4, [1, 2, 3, 4]), (10, 4, [1, 4, 7, 10]), (501, 3, [1, 251, 501])],
)
def test_the_places_of_a_long_call_are_spread(total: int, most: int, places: list[int]) -> None:
    assert spread(total, most) == places


async def test_awaits_are_counted_as_they_are_cancelled() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        await asyncio.to_thread(int)

    assert await counted(work(), deadline=30) == 2


async def test_a_killed_call_runs_nothing_more_while_its_heir_lives() -> None:
    seen: list[str] = []

    async def work() -> None:
        try:
            await asyncio.to_thread(seen.append, "outside")
            seen.append("after")
        finally:
            seen.append("finally")

    async with killed_at(work(), 1, deadline=30) as killed:
        assert killed
        await asyncio.sleep(0)
        assert seen == ["outside"]
    assert seen == ["outside", "finally"]


async def test_a_call_that_ignores_its_cancellation_is_named() -> None:
    let_go = asyncio.Event()

    async def work() -> None:
        while not let_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await let_go.wait()

    with pytest.raises(AssertionError, match="does not end when it is cancelled at await 1"):
        await cancelled_at(work(), 1, deadline=0.05)
    let_go.set()
