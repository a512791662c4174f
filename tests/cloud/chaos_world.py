"""A router's cloud half in a storm: everything of it is real but the cloud, the time and the host's tables.

The plugin drives its official SDK over TLS against an emulator in the same process, below the real router,
loop, journal and state file. Every change that the emulator sees is judged the moment it is made.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import AsyncIterator, Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from pathlib import Path

import attrs
from aiohttp import web
from aiohttp.typedefs import Handler
from tests.cloud.account import Account, Slot, View
from tests.cloud.chaos_process import (
    HOLD_DOWN,
    Disk,
    Elsewhere,
    Keeper,
    Mode,
    Mortal,
    Process,
    Side,
    configured,
)
from tests.cloud.ledger import Ledger
from tests.cloud.storm_time import HastyClock, StormClock
from tests.support.loopback import on_loopback

from routerd.model.route import LearnedRoute, RouteSet
from routerd.plugins.providers import ProviderFactory
from routerd.process.directories import Directories
from routerd.process.log import Log
from routerd.reconcile.loop import TableReport
from routerd.runtime.router import HostTables, Router
from routerd.runtime.single_runs import Removed, remove_ours
from routerd.store import open_store
from routerd.testing.fakes import FakeRouting, FakeWorld
from routerd.testing.kernel import FakeKernel
from routerd.testing.tables import FakeTable

_WITHIN_A_PASS = 5.0
"""Seconds by which the loop may have noticed something before we did: the plugin's own pauses."""


@attrs.define
class Ambush:
    """Something that happens at the nth call from now, before the call has its effect or after it.

    Without `write` every call counts, else only those that change something. What is `somebodys` happens
    right before our last look at the routes at the latest, where nothing guards our writes against it.
    """

    countdown: int
    side: Side
    deed: Callable[[], None]
    write: bool = False
    somebodys: bool = False


@attrs.define
class World:
    """One account, one state directory, and one process after the other."""

    account: Account
    directory: Path
    clock: StormClock = attrs.field(factory=StormClock)
    disk: Disk = attrs.field(factory=Disk)
    process: Process | None = None
    elsewhere: Elsewhere | None = None
    seen: View = attrs.field(init=False)
    wrongs: list[str] = attrs.field(factory=list)
    wanted: frozenset[IPv4Network] = frozenset()
    withdrawn: dict[Slot, float] = attrs.field(factory=dict)
    theirs: set[Slot] = attrs.field(factory=set)
    orphans: set[Slot] = attrs.field(factory=set)
    ambushes: list[Ambush] = attrs.field(factory=list)
    late: list[tuple[web.Request, Handler, int]] = attrs.field(factory=list)
    meddled: int = 0
    delaying: int = 0
    releasing: bool = False
    undoing: bool = False
    switched: bool = False
    writes: int = 0
    stories: io.StringIO = attrs.field(factory=io.StringIO)
    _speaker: FakeWorld = attrs.field(factory=FakeWorld)

    def __attrs_post_init__(self) -> None:
        self.seen = self.account.view()
        self.theirs = set(self.seen.routes)
        self._speaker.learned = RouteSet()

    # --- life ----------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[World]:
        """Serve the account's APIs while the context lasts."""
        first, *others = self.account.apis()

        @web.middleware
        async def between(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._between(request, handler)

        first.app.middlewares.append(between)
        for name, text in self.account.files.items():
            (self.directory / name).write_text(text)
        async with on_loopback(self.directory, first, *others):
            yield self
            await self.stop()

    @property
    def state(self) -> Path:
        return self.directory / "state" / "routerd.db"

    @property
    def options(self) -> str:
        """Return the profile's options, which name files in our directory."""
        return self.account.options.replace("DIRECTORY", str(self.directory))

    async def start(self, mode: Mode = "auto", *, aggregate: bool = False, lanes: bool = True) -> None:
        """Start a process on the state directory."""
        assert self.process is None
        prepared = configured(self.account.provider, self.options, mode=mode, aggregate=aggregate)
        directories = Directories(state=self.directory / "state", run=self.directory / "run")
        directories.make()
        store = open_store(self.state, clock=self.clock)
        log = Log(stream=self.stories, level="debug", now=self.clock.now)
        supervisor = Keeper(clock=self.clock, log=log)
        factory = ProviderFactory(
            prepared=prepared,
            directories=directories,
            kernel=FakeKernel(),
            clock=HastyClock(self.clock),
            log=log,
            supervisor=supervisor,
            wake=lambda lane: self.process.router.wake(lane) if self.process is not None else None,
            read_only=False,
        )
        made = attrs.evolve(factory.make(), routings={"bgp": FakeRouting(self._speaker)})
        tables = HostTables(
            routes=FakeTable(), addresses=FakeTable(), sysctls=FakeTable(), firewall=FakeTable()
        )
        router = Router(
            prepared, made, tables=tables, store=store, supervisor=supervisor, clock=self.clock, log=log
        )
        process = Process(
            router=router,
            store=store,
            supervisor=supervisor,
            connections=[],
            mode=mode,
            aggregate=aggregate,
        )
        process.connections = [
            Mortal(raw, self.disk, lambda: process.dead, lambda: self._die(process))
            for raw in (store._connection, store._reader)
        ]
        store._connection, store._reader = process.connections
        self._note_withdrawn(aggregate)
        self.process = process
        log.info("STARTED", mode=mode, aggregate=aggregate)
        await router.start(lanes=lanes)
        await self.rest()

    async def stop(self) -> None:
        """End the process as systemd would."""
        process = self.process
        if process is None:
            return
        await process.supervisor.aclose(deadline=60)
        await process.router.aclose()
        await self._aside(process)

    async def kill(self) -> None:
        """End the process without a word."""
        if self.process is not None:
            self._die(self.process)
            await self.rest()

    def _die(self, process: Process) -> None:
        """Nothing that the process did not get out until now gets out any more. Any thread may call this."""
        process.dead = True
        self.disk.dies_in = 0

    async def rest(self) -> None:
        """Let everything run to its end, and bury who died."""
        await self.clock.rest()
        if self.process is not None and self.process.dead:
            process = self.process
            await process.supervisor.aclose(deadline=60)
            await self.clock.rest()
            for fabric in process.router.made.fabrics.values():
                await fabric.aclose()
            await self._aside(process)
        self._audit()

    async def _aside(self, process: Process) -> None:
        for connection in process.connections:
            connection.close()
        self.process = None
        self.stories.write("STOPPED\n")

    async def advance(self, seconds: float) -> None:
        """Let time pass."""
        await self.clock.advance(seconds)
        await self.rest()

    @property
    def acting(self) -> Process | Elsewhere | None:
        """Return whose calls are answered."""
        return self.process or self.elsewhere

    # --- what is wanted --------------------------------------------------------------------------------

    def desired(self, aggregate: bool) -> set[Slot]:
        """Return where routes should be."""
        prefixes: Iterable[IPv4Network] = collapse_addresses(self.wanted) if aggregate else self.wanted
        return {(table, str(prefix)) for prefix in prefixes for table in self.account.tables}

    async def want(self, prefixes: Iterable[IPv4Network]) -> None:
        """Let the fabric's neighbours announce exactly these prefixes."""
        self.wanted = frozenset(prefixes)
        self._note_withdrawn(self.process.aggregate if self.process else False)
        hop = IPv4Address("10.99.0.1")
        routes = tuple(LearnedRoute(prefix=each, next_hop=hop, neighbour=hop) for each in sorted(self.wanted))
        self._speaker.announce(RouteSet(routes=routes, complete=True))
        await self.rest()

    def _note_withdrawn(self, aggregate: bool) -> None:
        now, desired = self.clock.monotonic(), self.desired(aggregate)
        for slot in self.seen.ours:
            self.withdrawn.setdefault(slot, now)
        for slot in desired:
            self.withdrawn.pop(slot, None)

    def report(self, table: str = "routes") -> TableReport | None:
        """Return how a table of the cloud stands."""
        return self.process.router.loop.reports().get(f"{table}/cloud") if self.process else None

    # --- what others do ----------------------------------------------------------------------------------

    def meddle(self, deed: Callable[[], None]) -> None:
        """Let somebody else change the account; what they leave is theirs."""
        self._audit()
        self.meddled += 1
        before = self.seen
        deed()
        self.seen = self.account.view()
        changed = {
            slot
            for slot in before.routes.keys() | self.seen.routes.keys()
            if before.routes.get(slot) != self.seen.routes.get(slot)
        }
        self.theirs = (self.theirs | changed) & self.seen.routes.keys()
        self._note_withdrawn(self.acting.aggregate if self.acting else False)

    # --- the emulator's side -------------------------------------------------------------------------------

    async def _between(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Stand between the API and its work: judge, ambush, kill, and deliver late."""
        self.clock.serving += 1
        try:
            body = await request.read()
            process = self.acting
            write = self.account.writes(request, body)
            reads = self.account.reads_routes(request, body)
            self._strike("before", write=write, fair=self.account.conditional or reads)
            if process is None or process.dead:
                return _hung_up(request)
            self._audit()
            if write and self.delaying:
                self.delaying -= 1
                self.late.append((request, handler, self.meddled))
                self.stories.write(f"LATE {request.method} {request.path}\n")
                return _hung_up(request)
            answer = await handler(request)
            self._audit()
            self._strike("after", write=write, fair=self.account.conditional)
            return _hung_up(request) if process.dead else answer
        finally:
            self.clock.serving -= 1

    def _strike(self, side: Side, *, write: bool, fair: bool) -> None:
        for ambush in list(self.ambushes):
            if ambush.side == side and (write or not ambush.write) and (fair or not ambush.somebodys):
                ambush.countdown -= 1
                if ambush.countdown <= 0:
                    self.ambushes.remove(ambush)
                    ambush.deed()

    def kill_at(self, countdown: int, side: Side, *, write: bool) -> None:
        """Kill the process at the nth call from now."""

        def deed() -> None:
            if self.process is not None:
                self.stories.write("KILLED at a call\n")
                self._die(self.process)

        self.ambushes.append(Ambush(countdown=countdown, side=side, deed=deed, write=write))

    async def release(self) -> None:
        """Let the cloud do what it was asked for long ago."""
        waiting, self.late = self.late, []
        self.releasing = True
        for request, handler, meddled in waiting:
            if meddled != self.meddled and not self.account.creates_conditionally:
                continue
            self._audit()
            self.stories.write(f"RELEASED {request.method} {request.path}\n")
            # What came of it was never told to anybody.
            with contextlib.suppress(Exception):
                await handler(request)
            await self.rest()
        self.releasing = False

    def _audit(self) -> None:
        """Judge what routerd has changed since the last look."""
        before, self.seen = self.seen, self.account.view()
        if before == self.seen:
            return
        after, ledger = self.seen, Ledger.read(self.state)
        wrongs: list[str] = []
        if before.rest != after.rest:
            wrongs.append(f"what is not ours was changed:\n{before.rest}\n{after.rest}")
        if self.acting is not None and self.acting.mode == "plan" and not (self.releasing or self.undoing):
            wrongs.append(f"something was changed in mode plan: {before} -> {after}")
        for slot in sorted(before.routes.keys() | after.routes.keys()):
            old, new = before.routes.get(slot), after.routes.get(slot)
            if old == new:
                continue
            self.stories.write(f"CHANGED {slot}: {old} -> {new}\n")
            self.writes += 1
            if old is not None:
                wrongs += self._judge_removal(slot, before, ledger)
            if new is not None:
                wrongs += [why] if (why := ledger.explains("create", slot, late=self.releasing)) else []
                if self.releasing and not ledger.owns(slot):
                    self.orphans.add(slot)
                if slot not in after.ours:
                    wrongs.append(f"{slot} was made and leads elsewhere")
                self.withdrawn.pop(slot, None)
                if self.acting is None or slot not in self.desired(self.acting.aggregate):
                    self.withdrawn[slot] = self.clock.monotonic()
        if before.switch != after.switch:
            self.writes += 1
            self.switched = True
            self.stories.write(f"SWITCHED to {after.switch}\n")
            if not any(line.table == "forwarding" and line.makes for line in ledger.lines):
                wrongs.append("the switch was set and is not in the journal")
        self.theirs &= after.routes.keys()
        self.orphans &= after.routes.keys()
        self.wrongs += wrongs

    def _judge_removal(self, slot: Slot, before: View, ledger: Ledger) -> Iterable[str]:
        if slot not in before.ours:
            yield f"{slot} was deleted although it led elsewhere"
        if why := ledger.explains("delete", slot, late=self.releasing):
            yield why
        waited = self.clock.monotonic() - self.withdrawn.get(slot, self.clock.monotonic())
        if waited < HOLD_DOWN - _WITHIN_A_PASS and not (self.undoing or self.releasing):
            yield f"{slot} was deleted {waited:g} s after it was withdrawn"

    # --- the end ------------------------------------------------------------------------------------------

    async def calm(self, aggregate: bool) -> None:
        """End all trouble, see to it that somebody is there to act, and let time pass."""
        self.account.troubles.clear()
        self.ambushes.clear()
        self.delaying = 0
        self.disk.full, self.disk.dies_in = False, 0
        await self.release()
        if self.process is not None and self.process.mode == "plan":
            await self.stop()
        if self.process is None:
            await self.start("auto", aggregate=aggregate)
        await self.want(self.wanted)
        # Longer than any backoff, than the hold-down, and than the interval between two looks.
        for _ in range(5):
            await self.advance(1000.0)

    async def down(self) -> Removed:
        """Do what `routerd down` does."""
        await self.stop()
        self.undoing = True
        await self.start("auto", lanes=False)
        process = self.process
        assert process is not None
        removed = await remove_ours(process.router, process.store)
        await self.stop()
        self.undoing = False
        return removed


def _hung_up(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)
