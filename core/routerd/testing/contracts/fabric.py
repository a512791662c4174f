"""The rules that the core relies on in a cloud fabric."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from ipaddress import IPv6Network
from typing import ClassVar

import attrs
import pytest

from routerd.spi import Fabric, Provider
from routerd.testing.contracts.provider import ProviderTablesContract
from routerd.testing.contracts.samples import TableRules
from routerd.testing.contracts.table import (
    DEADLINE,
    AnySamples,
    DeletionRules,
    ForeignRules,
    RefusalRules,
    ReplacementRules,
    assert_ipv6_costs_no_other,
    observe,
)


class FabricContract(ProviderTablesContract, ReplacementRules, DeletionRules, RefusalRules, ForeignRules):
    """The suite of a fabric. `samples` has the tables `forwarding` and `routes`.

    The core sets a NIC's switch and never deletes it, so the sample values of `forwarding` name NICs of
    the instance. A route has one right value, our own next hop, so `routes` has no replacement.

    Added in 1.0.
    """

    tables: ClassVar[tuple[TableRules, ...]] = (
        TableRules(attribute="forwarding", least=1, deletes=False, foreign=False),
        TableRules(attribute="routes", replaces=False),
    )

    @pytest.mark.asyncio
    async def test_the_instance_knows_itself(self, provider: Provider[Fabric], started: Fabric) -> None:
        """The facts name the cloud, the instance, its NICs and our next hop."""
        async with asyncio.timeout(DEADLINE):
            facts = await started.instance()
            assert facts.provider == provider.kind
            assert facts.instance
            assert facts.next_hop
            assert await started.instance() == facts

    @pytest.mark.asyncio
    async def test_the_switch_of_every_nic_is_observed(self, started: Fabric) -> None:
        """One entry for each NIC of the facts, no other."""
        async with asyncio.timeout(DEADLINE):
            facts = await started.instance()
            assert set(await observe(started.forwarding)) == {nic.ref for nic in facts.nics}

    @pytest.mark.asyncio
    async def test_an_ipv6_route_costs_no_other(
        self, started: Fabric, samples: Mapping[str, AnySamples]
    ) -> None:
        """A route to an IPv6 prefix is made, or is an `UnsupportedError` of its key; the others are made."""
        four = samples["routes"].values
        key, route = next(iter(four.items()))
        six = {attrs.evolve(key, prefix=IPv6Network("2001:db8:7::20/128")): route}
        await assert_ipv6_costs_no_other(started.routes, four, six)

    @pytest.mark.asyncio
    async def test_sample_routes_lie_in_our_tables_and_lead_to_us(
        self,
        started: Fabric,
        samples: Mapping[str, AnySamples],
    ) -> None:
        """The core wants no other routes."""
        async with asyncio.timeout(DEADLINE):
            facts = await started.instance()
            for key, route in samples["routes"].values.items():
                assert key.table in facts.route_tables
                assert route.next_hop == facts.next_hop
