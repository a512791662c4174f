"""Runs that end by themselves: the dry run, the single run, and the removal of everything that is ours."""

import asyncio
from collections.abc import AsyncIterator, Hashable, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

import attrs

from routerd.clouds.words import decoded
from routerd.errors import ProviderError, StoreError, TransientError
from routerd.leaf.memberships import Memberships
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute
from routerd.model.report.plan import Plan
from routerd.plugins.check import Prepared
from routerd.process.log import Log
from routerd.reconcile.guard import Unanswered, asked, contained, content_of, failures_of, of_plugin
from routerd.reconcile.loop import Binding
from routerd.reconcile.order import rank
from routerd.reconcile.wording import key_text
from routerd.report.live import ask_live
from routerd.report.plan import plan_of
from routerd.report.reasons import reasons
from routerd.runtime.assembly import Assembly, assembled, only_one
from routerd.runtime.invocation import Command
from routerd.runtime.router import Router
from routerd.store import JournalEntry, Store

START_SECONDS = 30.0
"""Maximum seconds that a single run waits for its providers."""

SETTLE_SECONDS = 0.2
ATTEMPTS = 3
"""Attempts of `routerd down` at a table that answers that a change fails for the moment."""


@attrs.frozen(kw_only=True)
class Removed:
    """The removals of `tear_down` that were made and those that failed, in words."""

    done: tuple[str, ...]
    failed: tuple[str, ...]


async def plan_offline(prepared: Prepared, command: Command, log: Log) -> Plan:
    """Return the changes that a daemon would make, without making any."""
    async with _brought_up(prepared, command, log, read_only=True) as assembly:
        assembly.router.knowledge.own_claims = await asyncio.to_thread(assembly.store.own_claims)
        return plan_of(assembly.router, await assembly.router.plan())


async def apply_once(command: Command, log: Log, *, deadline: float) -> list[str]:
    """Apply the file and return the reasons that remain after `deadline` seconds."""
    prepared = command.prepare()
    command.directories.make()
    passed = asyncio.Event()
    with only_one(command.directories, log):
        async with assembled(prepared, command.directories, log, on_pass=passed.set) as assembly:
            memberships = Memberships(
                store=assembly.store,
                methods=assembly.made.enrollments,
                supervisor=assembly.supervisor,
                clock=assembly.clock,
                log=log,
                on_change=assembly.router.refresh,
                on_claim=assembly.router.own_claim,
            )
            await assembly.router.start(hold_down=False)
            await memberships.follow(prepared.intent)
            return await _settled(assembly, memberships, passed, deadline)


async def _settled(
    assembly: Assembly, memberships: Memberships, passed: asyncio.Event, deadline: float
) -> list[str]:
    end = assembly.clock.monotonic() + deadline
    why = ["no table has been observed yet"]
    while why and assembly.clock.monotonic() < end:
        try:
            async with asyncio.timeout(1.0):
                await passed.wait()
        except TimeoutError:
            pass
        passed.clear()
        router = assembly.router
        if assembly.clock.monotonic() >= end:
            _note_silent(router, deadline)
        why = reasons(router, router.derive(), await ask_live(router), more=memberships.reasons())
    return why


def _note_silent(router: Router, seconds: float) -> None:
    """Name the plugin of each provider that is still starting."""
    waiting = router.knowledge.waiting
    for name in [name for name, text in waiting.items() if text == "starting"]:
        start = of_plugin("start", router.made.plugins.get(name, ""))
        waiting[name] = f"{start}: no answer within {seconds:g} s"


async def tear_down(command: Command, log: Log) -> Removed:
    """Remove everything that is ours, from the sessions down to the addresses, and undo it in the cloud.

    Objects of others stay. `ControlError` when a daemon runs, because it would restore everything. A plugin
    that cannot be used leaves its objects, and is one of the failures.
    """
    prepared = command.prepare(partial=True)
    command.directories.make()
    with only_one(command.directories, log):
        async with _brought_up(prepared, command, log, read_only=False) as assembly:
            return await remove_ours(assembly.router, assembly.store)


async def remove_ours(router: Router, store: Store) -> Removed:
    """Empty every table of a router whose lanes do not run."""
    done: list[str] = []
    failed = [f"{text}; its objects stay" for text in (*router.prepared.faults, *router.made.faults)]
    failed += [f"{name}: {text}" for name, text in router.knowledge.waiting.items()]
    bindings = sorted(router.loop.bindings(), key=lambda each: rank(each.role))
    silent: set[tuple[str, str]] = set()
    for binding in reversed(bindings):
        name, provider = of_plugin(binding.name, binding.plugin), (binding.plugin, binding.lane)
        if binding.plugin and provider in silent:
            failed.append(f"{name}: not tried; the plugin has not answered for another table")
            continue
        try:
            await _empty(router, store, binding, done, failed)
        except Unanswered as error:
            # The plugin's other tables would take their whole deadlines too, one after the other.
            silent.add(provider)
            failed.append(f"{name}: {error}")
    return Removed(done=tuple(done), failed=tuple(failed))


async def _empty(router: Router, store: Store, binding: Binding, done: list[str], failed: list[str]) -> None:
    """Empty one table; what fails for the moment is tried again, because no later pass will do it."""
    for attempt in range(1, ATTEMPTS + 1):
        missed: list[str] = []
        passing = await _emptied(router, store, binding, done, missed)
        if not passing or attempt == ATTEMPTS:
            failed += missed
            return


async def _emptied(
    router: Router, store: Store, binding: Binding, done: list[str], failed: list[str]
) -> bool:
    """Make one attempt; say whether another one may do what this one did not."""
    ask = partial(asked, log=router.log, table=binding.name, deadline=binding.deadline, plugin=binding.plugin)

    async def make() -> Mapping[Hashable, ProviderError]:
        return failures_of(await binding.table.apply(changes))

    try:
        observed = await ask(binding.table.observe, call="observe")
        with contained(router.log, table=binding.name, call="observe", plugin=binding.plugin):
            changes = _undoing(router, store, binding, content_of(observed), failed)
        # Also without a change: a provider may own objects that no key names any longer.
        failures = await ask(make, call="apply")
    except Unanswered:
        raise
    except (ProviderError, StoreError) as error:
        failed.append(f"{of_plugin(binding.name, binding.plugin)}: {error}")
        return False
    for change in changes:
        failure = failures.get(change.key)
        text = f"{binding.name} {key_text(change.key)}"
        if failure is None:
            done.append(text)
        else:
            failed.append(f"{text}: {failure}")
    return any(isinstance(failure, TransientError) for failure in failures.values())


def _undoing(
    router: Router, store: Store, binding: Binding, observed: Mapping[object, object], failed: list[str]
) -> list[Change[object, object]]:
    gate = router.gates().get(binding.name)
    if gate is None:
        return [Change(key=key, before=value, after=None) for key, value in observed.items()]
    facts = router.knowledge.instances.get(gate.scope)
    owned = store.journal.owned(gate.scope, gate.table)
    return list(_restored(binding, facts.next_hop if facts else "", owned, observed, failed))


def _restored(
    binding: Binding,
    ours: str,
    owned: Mapping[str, JournalEntry],
    observed: Mapping[object, object],
    failed: list[str],
) -> Iterator[Change[object, object]]:
    """Yield changes that restore the values before ours, as the journal has them.

    A switch whose original setting is unknown stays, and so does a route that leads to another router now.
    """
    for key, value in observed.items():
        entry = owned.get(str(key))
        if entry is None or (isinstance(value, FabricRoute) and value.next_hop != ours):
            continue
        try:
            prior = decoded(entry.table, entry.key_value, entry.before, entry.after).before
        except ValueError as error:
            failed.append(
                f"{binding.name} {key_text(key)}: kept; the journal's original value is unreadable: {error}"
            )
            continue
        if prior != value and not (prior is None and entry.table == "forwarding"):
            yield Change(key=key, before=value, after=prior)


@asynccontextmanager
async def _brought_up(
    prepared: Prepared, command: Command, log: Log, *, read_only: bool
) -> AsyncIterator[Assembly]:
    """Yield the parts with their providers started and no lane running."""
    async with assembled(prepared, command.directories, log, read_only=read_only) as assembly:
        router = assembly.router
        await router.start(lanes=False)
        try:
            async with asyncio.timeout(START_SECONDS):
                while any(text == "starting" for text in router.knowledge.waiting.values()):
                    await assembly.clock.sleep(0.05)
        except TimeoutError:
            _note_silent(router, START_SECONDS)
        # The routing yields its first set of routes, and keys are read, a moment after the start.
        await assembly.clock.sleep(SETTLE_SECONDS)
        yield assembly
