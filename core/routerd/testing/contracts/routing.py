"""What the core relies on in a routing protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import ClassVar

import pytest

from routerd.model.route import RouteSet
from routerd.spi import PluginContext, Provider, Routing
from routerd.testing.contracts.provider import ProviderTablesContract, running
from routerd.testing.contracts.samples import TableRules
from routerd.testing.contracts.table import DEADLINE, AnySamples, DeletionRules, ReplacementRules, fill


def _own(attribute: str, least: int = 2) -> TableRules:
    """Return the rules of a table of a speaker that is ours alone: nothing foreign can be in it."""
    return TableRules(attribute=attribute, least=least, refuses=False, foreign=False)


class RoutingContract(ProviderTablesContract, ReplacementRules, DeletionRules):
    """The suite of a routing protocol.

    `samples` has `speakers`, `admission`, `sessions` and `advertisements`; the last three prepare
    a speaker.

    Added in 1.0.
    """

    tables: ClassVar[tuple[TableRules, ...]] = (
        _own("speakers", least=1),
        _own("admission"),
        _own("sessions"),
        _own("advertisements"),
    )

    @pytest.mark.asyncio
    async def test_the_states_name_every_session(
        self,
        provider: Provider[Routing],
        context: PluginContext,
        options: object,
        samples: Mapping[str, AnySamples],
    ) -> None:
        """One state for each configured session, in the words of RFC 4271."""
        words = {"idle", "connect", "active", "opensent", "openconfirm", "established"}
        async with running(provider, context, options) as made:
            await samples["sessions"].prepare(made)
            observed = await fill(made.sessions, samples["sessions"].values)
            async with asyncio.timeout(DEADLINE):
                states = await made.states()
            assert sorted(state.neighbour for state in states) == sorted(observed)
            assert {state.state for state in states} <= words

    @pytest.mark.asyncio
    async def test_learned_yields_a_whole_set_at_once(
        self,
        provider: Provider[Routing],
        context: PluginContext,
        options: object,
        samples: Mapping[str, AnySamples],
    ) -> None:
        """The first set comes without waiting for a neighbour."""
        async with running(provider, context, options) as made:
            await samples["sessions"].prepare(made)
            async with asyncio.timeout(DEADLINE):
                async for learned in made.learned():
                    assert isinstance(learned, RouteSet)
                    break

    @pytest.mark.asyncio
    async def test_learned_ends_when_closed(
        self, provider: Provider[Routing], context: PluginContext, options: object
    ) -> None:
        """A consumer of the stream ends with the provider and is not left waiting."""
        async with running(provider, context, options) as made:
            ended = asyncio.ensure_future(_exhaust(made))
            await asyncio.sleep(0)
        async with asyncio.timeout(DEADLINE):
            await ended


async def _exhaust(routing: Routing) -> None:
    async for _ in routing.learned():
        pass
