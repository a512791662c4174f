"""The rules that the core relies on in a routing protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import ClassVar, cast

import attrs
import pytest

from routerd.model.route import RouteSet
from routerd.model.session import ImportPolicy, Session, SessionState
from routerd.spi import BgpRouting, Capability, PluginContext, Provider, Routing
from routerd.testing.contracts.provider import ProviderTablesContract, running
from routerd.testing.contracts.samples import Neighbour, TableRules
from routerd.testing.contracts.table import (
    DEADLINE,
    AnySamples,
    DeletionRules,
    ReplacementRules,
    assert_ipv6_costs_no_other,
    fill,
)

PAUSE = 0.02
"""Seconds between two readings of another process's state."""


def _own(attribute: str, least: int = 2) -> TableRules:
    """Return the rules of a table of our own speaker, which holds no foreign things."""
    return TableRules(attribute=attribute, least=least, refuses=False, foreign=False)


class RoutingContract(ProviderTablesContract, ReplacementRules, DeletionRules):
    """The suite of every routing: what it announces, and the stream of what it has learned.

    `samples` has `advertisements`, whose `prepare` makes ready whatever the table needs.

    Added in 1.0.
    """

    tables: ClassVar[tuple[TableRules, ...]] = (_own("advertisements"),)

    @pytest.mark.asyncio
    async def test_the_preference_is_an_administrative_distance(
        self, provider: Provider[Routing], context: PluginContext, options: object
    ) -> None:
        """It is a number from 1 to 255, and stays what it is."""
        async with running(provider, context, options) as made:
            preference = made.preference
            assert isinstance(preference, int)
            assert 1 <= preference <= 255, f"{preference} is not an administrative distance (1 to 255)"
            assert made.preference == preference

    @pytest.mark.asyncio
    async def test_each_prefix_has_a_best_path_and_every_path_a_next_hop(
        self,
        provider: Provider[Routing],
        context: PluginContext,
        options: object,
        samples: Mapping[str, AnySamples],
    ) -> None:
        """The core installs best paths and nothing else: a prefix without one would be lost in silence."""
        async with running(provider, context, options) as made:
            await samples["advertisements"].prepare(made)
            learned = await first_set(made)
            assert {route.prefix for route in learned.routes} == {
                route.prefix for route in learned.routes if route.best
            }
            addresses = (IPv4Address, IPv6Address)
            assert all(isinstance(route.next_hop, addresses) for route in learned.routes)

    @pytest.mark.asyncio
    async def test_an_ipv6_announcement_costs_no_other(
        self, started: Routing, samples: Mapping[str, AnySamples]
    ) -> None:
        """An IPv6 prefix is announced, or is an `UnsupportedError` of its key; the others are announced."""
        table = samples["advertisements"]
        await table.prepare(started)
        six = {
            IPv6Network("2001:db8:7::20/128"): attrs.evolve(next(iter(table.values.values())), next_hop=None)
        }
        await assert_ipv6_costs_no_other(started.advertisements, table.values, six)

    @pytest.mark.asyncio
    async def test_the_states_are_those_of_sessions(
        self, provider: Provider[Routing], context: PluginContext, options: object
    ) -> None:
        """A protocol without sessions has none; it does not fail."""
        async with running(provider, context, options) as made:
            async with asyncio.timeout(DEADLINE):
                states = await made.states()
            assert all(isinstance(state, SessionState) for state in states)

    @pytest.mark.asyncio
    async def test_learned_yields_a_whole_set_at_once(
        self,
        provider: Provider[Routing],
        context: PluginContext,
        options: object,
        samples: Mapping[str, AnySamples],
    ) -> None:
        """The first set does not wait for a neighbour."""
        async with running(provider, context, options) as made:
            await samples["advertisements"].prepare(made)
            async with asyncio.timeout(DEADLINE):
                async for learned in made.learned():
                    assert isinstance(learned, RouteSet)
                    break

    @pytest.mark.asyncio
    async def test_learned_ends_when_closed(
        self, provider: Provider[Routing], context: PluginContext, options: object
    ) -> None:
        """`aclose` ends the stream of a waiting consumer."""
        async with running(provider, context, options) as made:
            ended = asyncio.ensure_future(_exhaust(made))
            await asyncio.sleep(0)
        # The rule is that the stream ends, and without an error.
        async with asyncio.timeout(DEADLINE):
            await ended


class BgpRoutingContract(RoutingContract):
    """The suite of a routing with `Capability.BGP`, beside `BgpContract`.

    `samples` has `speakers`, `import_policies`, `sessions` and `advertisements`; the last three prepare
    a speaker. `neighbour` is the other end of a session; it can use a false identity.

    Added in 1.0.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.BGP})
    tables: ClassVar[tuple[TableRules, ...]] = (
        _own("speakers", least=1),
        _own("import_policies"),
        _own("sessions"),
        _own("advertisements"),
    )

    @pytest.fixture
    def neighbour(self) -> Neighbour:
        """Return the neighbour whose speaker the suite scripts."""
        raise NotImplementedError("override the fixture `neighbour`")

    @pytest.mark.parametrize("wrong", ["asn", "router_id"])
    @pytest.mark.asyncio
    async def test_an_unexpected_speaker_is_refused_in_words(
        self,
        provider: Provider[BgpRouting],
        context: PluginContext,
        options: object,
        samples: Mapping[str, AnySamples],
        neighbour: Neighbour,
        wrong: str,
    ) -> None:
        """It gets no session and no route; the error names the expected and the received value."""
        right = _identity(neighbour.session)
        other = attrs.evolve(right, asn=right.asn + 1) if wrong == "asn" else right.next()
        expected, came = (right.asn, other.asn) if wrong == "asn" else (right.router_id, other.router_id)
        async with running(provider, context, options) as made:
            await samples["sessions"].prepare(made)
            await _configure(made, neighbour, neighbour.session)
            await neighbour.speak(other.asn, other.router_id)
            state = await _until(made, neighbour, lambda state: bool(state.last_error))
            assert not state.established
            for part in (f" {expected} of {neighbour.session.whose}, ", f" {came}"):
                assert part in state.last_error, f"{state.last_error!r} does not say {part!r}"
            assert not await _learned_from(made, neighbour)
            await neighbour.speak(right.asn, right.router_id)
            await _until(made, neighbour, lambda state: state.established)
            await _until_learned(made, neighbour)

    @pytest.mark.asyncio
    async def test_a_new_expectation_ends_only_a_session_that_contradicts_it(
        self,
        provider: Provider[BgpRouting],
        context: PluginContext,
        options: object,
        samples: Mapping[str, AnySamples],
        neighbour: Neighbour,
    ) -> None:
        """The routes end with the session, which returns when speaker and expectation agree."""
        right = _identity(neighbour.session)
        other = right.next()
        anybody = attrs.evolve(neighbour.session, peer_router_id=None)
        changed = attrs.evolve(neighbour.session, peer_router_id=other.router_id)
        async with running(provider, context, options) as made:
            await samples["sessions"].prepare(made)
            await _configure(made, neighbour, anybody)
            await neighbour.speak(right.asn, right.router_id)
            before = await _until(made, neighbour, lambda state: state.established)
            await _until_learned(made, neighbour)
            assert (before.remote_asn, before.remote_router_id) == (right.asn, right.router_id)
            await fill(made.sessions, {neighbour.address: neighbour.session})
            after = await _until(made, neighbour, lambda state: True)
            assert after.established, "a session that agrees was ended"
            assert after.since == before.since, "a session that agrees was reset"
            await fill(made.sessions, {neighbour.address: changed})
            state = await _until(made, neighbour, lambda state: not state.established)
            assert str(other.router_id) in state.last_error
            assert not await _learned_from(made, neighbour)
            await neighbour.speak(other.asn, other.router_id)
            await _until(made, neighbour, lambda state: state.established)
            await _until_learned(made, neighbour)

    @pytest.mark.asyncio
    async def test_an_ipv6_neighbour_costs_no_other(
        self, started: BgpRouting, samples: Mapping[str, AnySamples]
    ) -> None:
        """Its policy and its session are held, or are each an `UnsupportedError`; the others are held."""
        address = IPv6Address("2001:db8:7::20")
        for name, table in (("import_policies", started.import_policies), ("sessions", started.sessions)):
            four = samples[name].values
            await samples[name].prepare(started)
            six = {address: next(iter(four.values()))}
            if name == "sessions":
                six = {address: attrs.evolve(six[address], source=None)}
            await assert_ipv6_costs_no_other(table, four, six)

    @pytest.mark.asyncio
    async def test_the_states_name_every_session(
        self,
        provider: Provider[BgpRouting],
        context: PluginContext,
        options: object,
        samples: Mapping[str, AnySamples],
    ) -> None:
        """`states` has one state for each configured session, in the words of RFC 4271."""
        words = {"idle", "connect", "active", "opensent", "openconfirm", "established"}
        async with running(provider, context, options) as made:
            await samples["sessions"].prepare(made)
            observed = await fill(made.sessions, samples["sessions"].values)
            async with asyncio.timeout(DEADLINE):
                states = await made.states()
            assert {state.neighbour for state in states} == set(observed)
            assert len(states) == len(observed)
            assert {state.state for state in states} <= words


@attrs.frozen
class _Identity:
    asn: int
    router_id: IPv4Address

    def next(self) -> _Identity:
        return attrs.evolve(self, router_id=self.router_id + 1)


def _identity(session: Session) -> _Identity:
    assert session.peer_router_id is not None, "the neighbour's session must expect a router ID"
    return _Identity(session.peer_asn, session.peer_router_id)


async def _configure(made: BgpRouting, neighbour: Neighbour, session: Session) -> None:
    policy = ImportPolicy(hosts=frozenset({neighbour.prefix}))
    await fill(made.import_policies, {neighbour.address: policy})
    await fill(made.sessions, {neighbour.address: session})


async def _until(
    made: BgpRouting, neighbour: Neighbour, holds: Callable[[SessionState], bool]
) -> SessionState:
    """Return the state of the neighbour's session once `holds` is true of it."""
    async with asyncio.timeout(DEADLINE):
        while True:
            for state in await made.states():
                if state.neighbour == neighbour.address and holds(state):
                    return state
            await asyncio.sleep(PAUSE)


async def _learned_from(made: BgpRouting, neighbour: Neighbour) -> bool:
    """Say whether the neighbour's prefix is among the learned routes."""
    learned = await first_set(made)
    return any(route.neighbour == neighbour.address for route in learned.routes)


async def _until_learned(made: BgpRouting, neighbour: Neighbour) -> None:
    async with asyncio.timeout(DEADLINE):
        while not await _learned_from(made, neighbour):  # noqa: ASYNC110 - another process learns it
            await asyncio.sleep(PAUSE)


async def first_set(made: Routing) -> RouteSet:
    """Return the first set of a stream of learned routes.

    Added in 1.0.
    """
    stream = cast("AsyncGenerator[RouteSet, None]", made.learned())
    async with asyncio.timeout(DEADLINE), aclosing(stream):
        async for learned in stream:
            return learned
    raise AssertionError("the stream of routes has ended")


async def _exhaust(routing: Routing) -> None:
    async for _ in routing.learned():
        pass
