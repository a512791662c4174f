"""The rules about IPv6 are sharp: a table that lets an IPv6 key cost anything is caught in each family."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from types import SimpleNamespace
from typing import Any

import pytest

from routerd.errors import ProviderError, TransientError, UnsupportedError
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute, FabricRouteKey, RouteTableRef
from routerd.model.session import Advertisement, ImportPolicy, Session
from routerd.spi import only_ipv4
from routerd.testing.contracts import BgpRoutingContract, FabricContract, RoutingContract, Samples
from routerd.testing.tables import FakeTable

Changes = Sequence[Change[Any, Any]]
Failures = Mapping[Any, ProviderError]
TABLE = RouteTableRef("t")


class Narrow(FakeTable[Any, Any]):
    """Takes no IPv6 and says so by key, as it should."""

    async def apply(self, changes: Changes) -> Failures:
        good, failures = only_ipv4(changes, str)
        return {**failures, **await super().apply(good)}


class Raising(FakeTable[Any, Any]):
    async def apply(self, changes: Changes) -> Failures:
        if only_ipv4(changes, str)[1]:
            raise ValueError("expected 4 octets")
        return await super().apply(changes)


class AllOrNothing(FakeTable[Any, Any]):
    async def apply(self, changes: Changes) -> Failures:
        if only_ipv4(changes, str)[1]:
            return {change.key: UnsupportedError("IPv6") for change in changes}
        return await super().apply(changes)


class Silent(FakeTable[Any, Any]):
    async def apply(self, changes: Changes) -> Failures:
        return await super().apply(only_ipv4(changes, str)[0])


class Hopeful(FakeTable[Any, Any]):
    async def apply(self, changes: Changes) -> Failures:
        good, failures = only_ipv4(changes, str)
        return {**dict.fromkeys(failures, TransientError("later")), **await super().apply(good)}


class Lying(FakeTable[Any, Any]):
    async def apply(self, changes: Changes) -> Failures:
        await super().apply(changes)
        return only_ipv4(changes, str)[1]


class Gloomy(Narrow):
    def foresee(self, changes: Changes) -> Failures:
        return {change.key: UnsupportedError("IPv6") for change in changes}


BROKEN = (Raising, AllOrNothing, Silent, Hopeful, Lying, Gloomy)


def route(number: int) -> FabricRouteKey:
    return FabricRouteKey(table=TABLE, prefix=IPv4Network((0x0A000000 + number, 32)))


async def fabric(table: FakeTable[Any, Any]) -> None:
    values = {route(number): FabricRoute(next_hop="us") for number in (1, 2)}
    started: Any = SimpleNamespace(routes=table)
    await FabricContract().test_an_ipv6_route_costs_no_other(started, {"routes": Samples(values=values)})


async def routing(table: FakeTable[Any, Any]) -> None:
    values = {route(number).prefix: Advertisement(owner="o") for number in (1, 2)}
    started: Any = SimpleNamespace(advertisements=table)
    samples = {"advertisements": Samples(values=values)}
    await RoutingContract().test_an_ipv6_announcement_costs_no_other(started, samples)


async def policies(table: FakeTable[Any, Any]) -> None:
    await _bgp(table, FakeTable())


async def sessions(table: FakeTable[Any, Any]) -> None:
    await _bgp(FakeTable(), table)


async def _bgp(policies: FakeTable[Any, Any], sessions: FakeTable[Any, Any]) -> None:
    neighbours = [IPv4Address(f"192.0.2.{number}") for number in (1, 2)]
    samples: dict[str, Samples[Any, Any]] = {
        "import_policies": Samples(values=dict.fromkeys(neighbours, ImportPolicy())),
        "sessions": Samples(values=dict.fromkeys(neighbours, Session(peer_asn=1, owner="o"))),
    }
    started: Any = SimpleNamespace(import_policies=policies, sessions=sessions)
    await BgpRoutingContract().test_an_ipv6_neighbour_costs_no_other(started, samples)


RULES = (fabric, routing, policies, sessions)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("broken", BROKEN)
async def test_a_table_that_lets_ipv6_cost_something_is_caught(
    broken: type[FakeTable[Any, Any]], rule: Callable[[FakeTable[Any, Any]], Awaitable[None]]
) -> None:
    with pytest.raises((AssertionError, ValueError)):
        await rule(broken())


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("proper", [FakeTable, Narrow])
async def test_a_table_that_takes_ipv6_or_refuses_it_by_key_passes(
    proper: type[FakeTable[Any, Any]], rule: Callable[[FakeTable[Any, Any]], Awaitable[None]]
) -> None:
    await rule(proper())
