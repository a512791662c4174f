"""The provider: its tables mirror what the speaker's process runs."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network
from typing import Any, Generic, TypeVar, cast

import attrs

from routerd.errors import ProviderError, TransientError
from routerd.model.addresses import IPAddress
from routerd.model.bgp.best_path import decide
from routerd.model.change import Change
from routerd.model.route import LearnedRoute, RejectedRoute, RouteSet
from routerd.model.session import Advertisement, ImportPolicy, Prefix, Session, SessionState, Speaker
from routerd.spi import PluginContext, apply_each, only_ipv4
from routerd_bgp_ryu.config import BgpOptions
from routerd_bgp_ryu.link import SpeakerLink
from routerd_bgp_ryu.newcomers import Newcomers
from routerd_bgp_ryu.wire import Document, from_document, to_document

BATCH = 500
"""Changes in one request, so that each is answered well within its deadline."""

REST = 3
"""Times its own duration that reading all routes is rested from: at most a quarter of a core."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BgpRouting:
    """BGP by a child process. Implements `spi.BgpRouting`."""

    preference = 200

    def __init__(self, context: PluginContext, options: BgpOptions) -> None:
        self._changed = asyncio.Event()
        self._closing = asyncio.Event()
        self._refusals: dict[str, str] = {}
        self._newcomers = Newcomers()
        self._context = context
        self._link = SpeakerLink(context, options, self._on_change)
        self.speakers = SpeakerTable(self._link)
        self.import_policies: KeyedTable[IPAddress, ImportPolicy] = KeyedTable(
            self._link, "policy", "policies", ip_address, ImportPolicy
        )
        self.sessions: KeyedTable[IPAddress, Session] = KeyedTable(
            self._link, "session", "sessions", ip_address, Session
        )
        self.advertisements: KeyedTable[Prefix, Advertisement] = KeyedTable(
            self._link, "advertisement", "advertisements", ip_network, Advertisement
        )

    async def start(self) -> None:
        """Find a speaker's process that an earlier daemon left running; starts none."""
        await self._link.find()

    async def aclose(self) -> None:
        """Let go of the process; it keeps its sessions for the grace time."""
        self._closing.set()
        self._changed.set()
        self._link.close()

    def _on_change(self) -> None:
        self._changed.set()
        self._context.wake()

    async def learned(self) -> AsyncIterator[RouteSet]:
        """Yield what the speaker knows, at once and after each change."""
        last: RouteSet | None = None
        while not self._closing.is_set():
            self._changed.clear()
            began = time.monotonic()
            current = await self._snapshot()
            rest = REST * (time.monotonic() - began)
            if current != last:
                last = current
                yield current
            # It reads again after half a minute without a notice. `aclose` sets the event too.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), self._newcomers.pause(30))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), min(rest, 5))

    async def _snapshot(self) -> RouteSet:
        try:
            answer = await self._link.ask("snapshot") if await self._link.find() else None
        except ProviderError as error:
            self._context.log.info("routes.unknown", error=str(error))
            return RouteSet()
        if answer is None:
            return RouteSet()
        said = cast("Document", answer)
        self._tell(said["refusals"])
        paths = [
            LearnedRoute(
                prefix=IPv4Network(each["prefix"]),
                next_hop=IPv4Address(each["next_hop"]),
                neighbour=IPv4Address(each["neighbour"]),
                best=False,
                local_preference=each["local_preference"],
                as_path=tuple(each["as_path"]),
                communities=frozenset(each["communities"]),
                originator=IPv4Address(each["originator"]) if each["originator"] else None,
                stale=each["stale"],
                med=each["med"],
                origin=each["origin"],
                internal=each["internal"],
            )
            for each in said["routes"]
        ]
        own, waiting = frozenset(map(IPv4Network, said["own"])), self._newcomers.among(paths)
        return RouteSet(
            routes=decide(paths, own, waiting),
            rejected=tuple(
                RejectedRoute(
                    prefix=IPv4Network(each["prefix"]),
                    neighbour=IPv4Address(each["neighbour"]),
                    reason=each["reason"],
                )
                for each in said["rejected"]
            ),
            complete=said["complete"],
            heard=frozenset(map(IPv4Address, said["heard"])),
        )

    def _tell(self, refusals: dict[str, str]) -> None:
        """Log whose speaker is refused, once for each change."""
        for neighbour, reason in refusals.items():
            if self._refusals.get(neighbour) != reason:
                self._context.log.warning("session.refused", neighbour=neighbour, reason=reason)
        for neighbour in self._refusals.keys() - refusals.keys():
            self._context.log.info("session.refusal.over", neighbour=neighbour)
        self._refusals = refusals

    async def states(self) -> Sequence[SessionState]:
        """Return how each session does; none when no speaker runs."""
        if not await self._link.find():
            return ()
        listed = cast("list[Document]", await self._link.ask("states"))
        return tuple(from_document(each, SessionState) for each in listed)


class SpeakerTable:
    """The speaker itself: creating it starts the process, changing it starts another."""

    def __init__(self, link: SpeakerLink) -> None:
        self._link = link

    async def observe(self) -> Mapping[str, Speaker]:
        """Return the running speaker by the name of its resource."""
        if not await self._link.find():
            return {}
        document = cast("Document", await self._link.ask("observe"))["speaker"]
        if document is None:
            return {}
        speaker = from_document(document, Speaker)
        return {speaker.owner.rpartition("/")[2]: speaker}

    async def apply(self, changes: Sequence[Change[str, Speaker]]) -> Mapping[str, ProviderError]:
        """Start, restart or stop the speaker."""
        changes, failures = only_ipv4(changes, lambda name: f"bgp speaker {name}")
        # Deletions first: only one speaker can hold the port.
        in_order = sorted(changes, key=lambda each: each.after is not None)
        return failures | await apply_each(in_order, self._make)

    async def _make(self, change: Change[str, Speaker]) -> None:
        present = (await self.observe()).get(change.key)
        if present is not None and present == change.after:
            return
        if change.before is not None or present is not None:
            await self._link.stop()
        if change.after is not None:
            await self._link.start()
            await self._link.ask("speaker", value=to_document(change.after))


@attrs.frozen(eq=False)
class KeyedTable(Generic[K, V]):
    """Sessions, policies or advertisements of the speaker."""

    _link: SpeakerLink
    _op: str
    _part: str
    _key: Callable[[Any], K]  # Any: keys arrive as text
    _value: type[V]

    async def observe(self) -> Mapping[K, V]:
        """Return what the speaker runs; nothing without a speaker."""
        if not await self._link.find():
            return {}
        part = cast("Document", await self._link.ask("observe"))[self._part]
        return {self._key(key): from_document(value, self._value) for key, value in part.items()}

    async def apply(self, changes: Sequence[Change[K, V]]) -> Mapping[K, ProviderError]:
        """Tell the speaker of each change; it speaks of IPv4 over IPv4 only."""
        changes, failures = only_ipv4(changes, lambda key: f"bgp {self._op} {key}")
        try:
            if not changes or not (await self._link.find() or any(change.after for change in changes)):
                return failures  # without a speaker there is nothing left to delete
        except ProviderError as error:
            return failures | {change.key: error for change in changes}
        for start in range(0, len(changes), BATCH):
            batch = changes[start : start + BATCH]
            keys = {str(change.key): change.key for change in batch}
            values = [
                [str(change.key), to_document(change.after) if change.after is not None else None]
                for change in batch
            ]
            try:
                refused = cast("Document", await self._link.ask("apply", table=self._op, changes=values))
            except ProviderError as error:
                failures.update(dict.fromkeys(keys.values(), error))
                continue
            failures.update({keys[key]: TransientError(text) for key, text in refused.items()})
        return failures
