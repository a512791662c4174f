"""What the core relies on in a fabric that shares its site, and in one that knows its quotas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import ClassVar, cast

import attrs
import pytest

from routerd.errors import NotOwnedError, PermanentError, ProviderError
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute, FabricRouteKey
from routerd.spi import (
    Capability,
    DiagnosingFabric,
    Fabric,
    ForeseeingTable,
    PluginContext,
    Provider,
    SharedFabric,
)
from routerd.testing.contracts.fabric import FabricContract
from routerd.testing.contracts.provider import running
from routerd.testing.contracts.table import DEADLINE, AnySamples, apply, observe

RouteChange = Change[FabricRouteKey, FabricRoute]


@attrs.frozen(kw_only=True)
class OtherRouter:
    """Another router of the same site: how routes name it, and a way to make one as it would.

    `place` makes the route of a key lead to it; `read` returns what the route of a key leads to now,
    in the words of `InstanceFacts.next_hop`, or none.
    """

    next_hop: str
    place: Callable[[FabricRouteKey], Awaitable[None]]
    read: Callable[[FabricRouteKey], Awaitable[str | None]]


@attrs.frozen(kw_only=True)
class Quota:
    """The most routes that a table of the samples may hold; `leave` fills it but for some."""

    limit: int
    leave: Callable[[int], Awaitable[None]]


class SharedFabricContract(FabricContract):
    """The suite of a fabric with `Capability.SHARES_SITE`; give it the fixture `other` too.

    Added in 1.0.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.SHARES_SITE})

    @pytest.fixture
    def other(self) -> OtherRouter:
        """Return another router of the site."""
        raise NotImplementedError("override the fixture `other`")

    @asynccontextmanager
    async def _shared(
        self, provider: Provider[Fabric], context: PluginContext, options: object, next_hop: str
    ) -> AsyncIterator[SharedFabric]:
        made = cast("SharedFabric", provider.create(context, options))
        made.share(frozenset({next_hop}))
        try:
            async with asyncio.timeout(DEADLINE):
                await made.start()
                await made.instance()
            yield made
        finally:
            await made.aclose()

    @pytest.mark.asyncio
    async def test_takeover_and_back(
        self,
        provider: Provider[Fabric],
        context: PluginContext,
        options: object,
        samples: Mapping[str, AnySamples],
        other: OtherRouter,
    ) -> None:
        """Routes of the other router are seen, taken over one by one, and given back by an undo."""
        (first, ours), (second, _) = list(samples["routes"].values.items())[:2]
        theirs = FabricRoute(next_hop=other.next_hop)
        async with self._shared(provider, context, options, other.next_hop) as made:
            for key in (first, second):
                await other.place(key)
            assert dict(await observe(made.routes)) == {first: theirs, second: theirs}
            assert await apply(made.routes, [Change(key=first, before=theirs, after=ours)]) == {}
            assert dict(await observe(made.routes)) == {first: ours, second: theirs}
            assert await other.read(first) == ours.next_hop
            assert await other.read(second) == other.next_hop
            assert await apply(made.routes, [Change(key=first, before=ours, after=theirs)]) == {}
            assert await other.read(first) == other.next_hop

    @pytest.mark.asyncio
    async def test_a_route_of_the_other_router_is_never_deleted(
        self,
        provider: Provider[Fabric],
        context: PluginContext,
        options: object,
        samples: Mapping[str, AnySamples],
        other: OtherRouter,
    ) -> None:
        """Also not by who made it once: the other one has taken it over meanwhile."""
        key, ours = next(iter(samples["routes"].values.items()))
        async with self._shared(provider, context, options, other.next_hop) as made:
            await other.place(key)
            failures = await apply(made.routes, [Change(key=key, before=ours, after=None)])
            assert isinstance(failures.get(key), NotOwnedError), f"no NotOwnedError: {failures}"
            assert await other.read(key) == other.next_hop

    @pytest.mark.asyncio
    async def test_who_was_not_told_of_is_foreign(
        self,
        provider: Provider[Fabric],
        context: PluginContext,
        options: object,
        samples: Mapping[str, AnySamples],
        other: OtherRouter,
    ) -> None:
        """Without `share` the other router's routes are as anybody's."""
        key, ours = next(iter(samples["routes"].values.items()))
        async with running(provider, context, options) as made:
            await other.place(key)
            assert key not in await observe(made.routes)
            failures = await apply(made.routes, [Change(key=key, before=None, after=ours)])
            assert isinstance(failures.get(key), NotOwnedError), f"no NotOwnedError: {failures}"
            assert await other.read(key) == other.next_hop


class ForesightRules:
    """The rules for a fabric whose `routes` are a `ForeseeingTable`; mix it into the fabric's suite.

    One whose tables have a limit takes `QuotaRules` instead.

    Added in 1.0.
    """

    @pytest.mark.asyncio
    async def test_what_is_foreign_is_foreseen(
        self,
        provider: Provider[Fabric],
        context: PluginContext,
        options: object,
        samples: Mapping[str, AnySamples],
    ) -> None:
        """With the same words as when it is tried, and nothing else is refused."""
        foreign = samples["routes"].foreign
        assert foreign is not None
        async with running(provider, context, options) as made:
            await foreign.place()
            await observe(made.routes)
            wanted = {**samples["routes"].values, foreign.key: foreign.value}
            creations = [Change(key=key, before=None, after=value) for key, value in wanted.items()]
            foreseen = _foresee(made, creations)
            assert set(foreseen) == {foreign.key}
            assert isinstance(foreseen[foreign.key], NotOwnedError)
            failures = await apply(made.routes, [each for each in creations if each.key == foreign.key])
            assert str(failures[foreign.key]) == str(foreseen[foreign.key])


class QuotaRules(ForesightRules):
    """The rules for a fabric that also foresees a full table; give it the fixture `quota`.

    Added in 1.0.
    """

    @pytest.fixture
    def quota(self) -> Quota:
        """Return the limit of the samples' table."""
        raise NotImplementedError("override the fixture `quota`")

    @pytest.mark.asyncio
    async def test_a_full_table_is_foreseen_with_its_number(
        self,
        provider: Provider[Fabric],
        context: PluginContext,
        options: object,
        samples: Mapping[str, AnySamples],
        quota: Quota,
    ) -> None:
        """What there is room for is let through, and what is deleted makes room."""
        keys = list(samples["routes"].values)[:2]
        value = samples["routes"].values[keys[0]]
        creations = [Change(key=key, before=None, after=value) for key in keys]
        async with running(provider, context, options) as made:
            await quota.leave(1)
            await observe(made.routes)
            foreseen = _foresee(made, creations)
            assert set(foreseen) == {keys[1]}
            assert isinstance(foreseen[keys[1]], PermanentError)
            assert str(quota.limit) in str(foreseen[keys[1]])
            assert await apply(made.routes, creations[:1]) == {}
            await observe(made.routes)
            swap = [Change(key=keys[0], before=value, after=None), creations[1]]
            assert _foresee(made, swap) == {}
            assert set(_foresee(made, creations[1:])) == {keys[1]}


class DiagnosisRules:
    """The rules for a fabric with `Capability.DIAGNOSES`; mix it into the fabric's suite.

    Added in 1.0.
    """

    @pytest.mark.asyncio
    async def test_with_every_permission_nothing_is_missing(
        self,
        provider: Provider[Fabric],
        context: PluginContext,
        options: object,
        samples: Mapping[str, AnySamples],
    ) -> None:
        """Findings have a subject each, and what was looked at is as it was."""
        async with running(provider, context, options) as made, asyncio.timeout(DEADLINE):
            before = dict(await made.routes.observe()), dict(await made.forwarding.observe())
            findings = await cast("DiagnosingFabric", made).diagnose()
            assert findings
            assert all(each.subject and each.state != "missing" for each in findings), findings
            assert len({each.subject for each in findings}) == len(findings)
            after = dict(await made.routes.observe()), dict(await made.forwarding.observe())
            assert after == before
            assert samples


def _foresee(made: Fabric, changes: list[RouteChange]) -> Mapping[FabricRouteKey, ProviderError]:
    return cast("ForeseeingTable[FabricRouteKey, FabricRoute]", made.routes).foresee(changes)
