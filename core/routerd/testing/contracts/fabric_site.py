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
from routerd.spi.site_routes import RouteChange, SiteRouters, Write, fault, judge
from routerd.testing.contracts.fabric import FabricContract
from routerd.testing.contracts.provider import running
from routerd.testing.contracts.table import DEADLINE, AnySamples, apply, observe


@attrs.frozen(kw_only=True)
class SiteWorld:
    """The routers of a site beside the one under test, and the site's routes as anybody can change them.

    `others` are the next hops of two routers of the site; `stranger` is a next hop of the same cloud that
    does not belong to the site. `place` makes the route of a key lead to a next hop, or removes the
    route; `read` returns the next hop that it leads to now. Both use the words of
    `InstanceFacts.next_hop`, but a stranger may have any words.
    """

    others: tuple[str, str]
    stranger: str
    place: Callable[[FabricRouteKey, str | None], Awaitable[None]]
    read: Callable[[FabricRouteKey], Awaitable[str | None]]


@attrs.frozen(kw_only=True)
class Quota:
    """The most routes that a table of the samples may hold; `leave` fills it but for some."""

    limit: int
    leave: Callable[[int], Awaitable[None]]


ASKED = (
    (None, "us"),
    ("A", "us"),
    ("us", None),
    ("us", "A"),
    (None, "A"),
    ("B", "A"),
    ("A", None),
)
"""The changes of the table in `spi.site_routes`, before and after."""

PRESENT = ("us", "A", "B", None, "X")
"""What a route can lead to: us, two other routers of the site, nothing, a stranger."""


class SharedFabricContract(FabricContract):
    """The suite of a fabric with `Capability.SHARES_SITE`; give it the fixture `site` too.

    Added in 1.0.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.SHARES_SITE})

    @pytest.fixture
    def site(self) -> SiteWorld:
        """Return the site of the samples' tables."""
        raise NotImplementedError("override the fixture `site`")

    @asynccontextmanager
    async def _shared(
        self, provider: Provider[Fabric], context: PluginContext, options: object, site: SiteWorld
    ) -> AsyncIterator[SharedFabric]:
        made = cast("SharedFabric", provider.make(context, options))
        made.share(frozenset(site.others))
        try:
            async with asyncio.timeout(DEADLINE):
                await made.start()
                await made.instance()
            yield made
        finally:
            await made.aclose()

    @pytest.mark.asyncio
    @pytest.mark.parametrize(("before", "after"), ASKED)
    async def test_a_route_is_changed_by_the_rule_of_the_site(
        self,
        provider: Provider[Fabric],
        context: PluginContext,
        options: object,
        samples: Mapping[str, AnySamples],
        site: SiteWorld,
        before: str | None,
        after: str | None,
    ) -> None:
        """Each row of the table in `spi.site_routes`, whatever the cloud shows in the moment of the change.

        Two assertions of this suite changed with that rule. A deletion of another router's route was a
        `NotOwnedError`; asked as the removal of ours it is now superseded, and asked as such it is a
        `PermanentError`. Giving back a route that is gone was a `TransientError`; it is superseded, too.
        `JournaledTable` takes a superseded change out of the failures, so `routerd down` lists none for
        a route that somebody else has taken: there is nothing left that an operator could do about it.
        """
        key, ours = next(iter(samples["routes"].values.items()))
        named = {
            "us": ours.next_hop,
            "A": site.others[0],
            "B": site.others[1],
            "X": site.stranger,
            None: None,
        }
        routers = SiteRouters(us=ours.next_hop, others=frozenset(site.others))
        change = Change(key=key, before=_route(named[before]), after=_route(named[after]))
        async with self._shared(provider, context, options, site) as made:
            for holder in PRESENT:
                await site.place(key, named[holder])
                verdict = judge(named[before], named[after], named[holder], routers)
                failure = (await apply(made.routes, [change])).get(key)
                cell = f"{before} -> {after} where {holder} is: {verdict}, but {failure!r}"
                assert isinstance(failure, type(fault(verdict, ""))), cell
                left = named[after] if isinstance(verdict, Write) else named[holder]
                assert await site.read(key) == left, cell

    @pytest.mark.asyncio
    async def test_takeover_and_back(
        self,
        provider: Provider[Fabric],
        context: PluginContext,
        options: object,
        samples: Mapping[str, AnySamples],
        site: SiteWorld,
    ) -> None:
        """The fabric sees routes of the other router, takes one over, and gives it back by an undo."""
        (first, ours), (second, _) = list(samples["routes"].values.items())[:2]
        theirs = FabricRoute(next_hop=site.others[0])
        async with self._shared(provider, context, options, site) as made:
            for key in (first, second):
                await site.place(key, theirs.next_hop)
            assert dict(await observe(made.routes)) == {first: theirs, second: theirs}
            assert await apply(made.routes, [Change(key=first, before=theirs, after=ours)]) == {}
            assert dict(await observe(made.routes)) == {first: ours, second: theirs}
            assert await site.read(first) == ours.next_hop
            assert await site.read(second) == theirs.next_hop
            assert await apply(made.routes, [Change(key=first, before=ours, after=theirs)]) == {}
            assert await site.read(first) == theirs.next_hop

    @pytest.mark.asyncio
    async def test_a_router_that_share_did_not_name_is_foreign(
        self,
        provider: Provider[Fabric],
        context: PluginContext,
        options: object,
        samples: Mapping[str, AnySamples],
        site: SiteWorld,
    ) -> None:
        """Without `share` the other router's routes belong to a stranger."""
        key, ours = next(iter(samples["routes"].values.items()))
        async with running(provider, context, options) as made:
            await site.place(key, site.others[0])
            assert key not in await observe(made.routes)
            failures = await apply(made.routes, [Change(key=key, before=None, after=ours)])
            assert isinstance(failures.get(key), NotOwnedError), f"no NotOwnedError: {failures}"
            assert await site.read(key) == site.others[0]


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
        """The words are those of the attempt, and the table foresees no other refusal."""
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


def _route(next_hop: str | None) -> FabricRoute | None:
    return None if next_hop is None else FabricRoute(next_hop=next_hop)


def _foresee(made: Fabric, changes: list[RouteChange]) -> Mapping[FabricRouteKey, ProviderError]:
    return cast("ForeseeingTable[FabricRouteKey, FabricRoute]", made.routes).foresee(changes)
