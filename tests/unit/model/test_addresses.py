"""Addresses of both families: their order, the way to IPv4 alone, and the links between two routers."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routerd.errors import UnsupportedError
from routerd.model.addresses import first_ipv6, host_prefix, inside, ipv4, order
from routerd.model.bgp.best_path import decide
from routerd.model.fabric import FabricRouteKey, RouteTableRef
from routerd.model.firewall import Accept
from routerd.model.names import LinkName, pair_slot, slot_addresses, slot_capacity, slot_network
from routerd.model.route import AddressKey, LearnedRoute, NextHop, RouteKey
from routerd.model.session import ImportPolicy, range_of
from routerd.model.tunnel import Endpoint

fours = st.builds(IPv4Address, st.integers(0, 2**32 - 1))
sixes = st.builds(IPv6Address, st.integers(0, 2**128 - 1))
networks_4 = st.builds(lambda number, length: IPv4Network((number, length), strict=False),
                       st.integers(0, 2**32 - 1), st.integers(0, 32))  # fmt: skip
networks_6 = st.builds(lambda number, length: IPv6Network((number, length), strict=False),
                       st.integers(0, 2**128 - 1), st.integers(0, 128))  # fmt: skip
interfaces_4 = st.builds(lambda number, length: IPv4Interface((number, length)),
                         st.integers(0, 2**32 - 1), st.integers(0, 32))  # fmt: skip
interfaces_6 = st.builds(lambda number, length: IPv6Interface((number, length)),
                         st.integers(0, 2**128 - 1), st.integers(0, 128))  # fmt: skip
ONE_FAMILY = (fours, sixes, networks_4, networks_6, interfaces_4, interfaces_6)

TABLE = RouteTableRef("t")
FOUR, SIX = IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")
NET_4, NET_6 = IPv4Network("192.0.2.0/24"), IPv6Network("2001:db8::/64")
ON_4, ON_6 = IPv4Interface("192.0.2.1/24"), IPv6Interface("2001:db8::1/64")


@pytest.mark.parametrize("values", ONE_FAMILY, ids=["4", "6", "net4", "net6", "if4", "if6"])
def test_one_family_sorts_as_python_sorts_it(values: st.SearchStrategy[Any]) -> None:
    @given(st.lists(values, max_size=6))
    def check(found: list[Any]) -> None:
        assert sorted(found, key=order) == sorted(found)

    check()


@given(st.lists(st.one_of(networks_4, networks_6), max_size=8))
def test_both_families_sort_with_ipv4_first(found: list[IPv4Network | IPv6Network]) -> None:
    versions = [each.version for each in sorted(found, key=order)]
    assert versions == sorted(versions)


def test_python_alone_refuses_to_sort_both() -> None:
    # Without this there would be no reason for a key.
    with pytest.raises(TypeError):
        sorted([NET_6, NET_4])  # type: ignore[type-var]
    assert sorted([NET_6, NET_4], key=order) == [NET_4, NET_6]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (RouteKey(prefix=NET_4), RouteKey(prefix=NET_6)),
        (FabricRouteKey(table=TABLE, prefix=NET_4), FabricRouteKey(table=TABLE, prefix=NET_6)),
        (AddressKey(link=LinkName("l"), address=ON_4), AddressKey(link=LinkName("l"), address=ON_6)),
        (NextHop(gateway=FOUR), NextHop(gateway=SIX)),
        (NextHop(gateway=None, link=LinkName("a")), NextHop(gateway=FOUR, link=LinkName("a"))),
        (Endpoint(address=FOUR, port=9), Endpoint(address=SIX, port=1)),
        (Accept(chain="input", source=NET_4), Accept(chain="input", source=NET_6)),
        (Accept(chain="input"), Accept(chain="input", source=NET_4)),
    ],
    ids=str,
)
def test_keys_of_both_families_can_be_sorted(first: Any, second: Any) -> None:
    assert sorted([second, first]) == [first, second]


@given(st.lists(st.builds(RouteKey, prefix=networks_4, metric=st.integers(0, 3)), max_size=6))
def test_keys_of_ipv4_are_sorted_as_before(found: list[RouteKey]) -> None:
    assert sorted(found) == sorted(found, key=lambda key: (key.prefix, key.metric, key.table))


@given(st.one_of(fours, sixes))
def test_a_host_prefix_holds_its_address_alone(address: IPv4Address | IPv6Address) -> None:
    assert list(host_prefix(address)) == [address]


@given(st.one_of(networks_4, networks_6), st.one_of(networks_4, networks_6))
def test_a_prefix_lies_only_inside_one_of_its_own_family(
    prefix: IPv4Network | IPv6Network, bound: IPv4Network | IPv6Network
) -> None:
    same = prefix.version == bound.version
    first, last = range_of(prefix)
    begin, end = range_of(bound)
    assert inside(prefix, bound) == (begin <= first and last <= end)
    assert same or not inside(prefix, bound)


@pytest.mark.parametrize("value", [FOUR, NET_4, ON_4], ids=str)
def test_ipv4_passes_the_way_to_ipv4(value: Any) -> None:
    assert ipv4(value, "route x") is value


@pytest.mark.parametrize("value", [SIX, NET_6, ON_6], ids=str)
def test_ipv6_is_refused_on_the_way_to_ipv4_in_words(value: Any) -> None:
    with pytest.raises(UnsupportedError) as caught:
        ipv4(value, "route x")
    assert str(caught.value) == f"route x: {value} is IPv6; routerd does not support IPv6 here yet; use IPv4"


@pytest.mark.parametrize(
    "value",
    [SIX, (FOUR, (NET_4, NET_6)), frozenset({ON_6}), ImportPolicy(hosts=frozenset({NET_4, NET_6})),
     RouteKey(prefix=NET_6), Endpoint(address=SIX, port=1)],
    ids=str,
)  # fmt: skip
def test_ipv6_is_found_inside_of_values(value: object) -> None:
    found = first_ipv6(value)
    assert found is not None
    assert found.version == 6


@pytest.mark.parametrize(
    "value", [None, "2001:db8::1", FOUR, (NET_4, ON_4), ImportPolicy(hosts=frozenset({NET_4}))], ids=str
)
def test_nothing_is_found_in_a_value_of_ipv4(value: object) -> None:
    assert first_ipv6(value) is None


def test_an_endpoint_of_ipv6_is_written_with_brackets() -> None:
    assert str(Endpoint(address=SIX, port=51820)) == "[2001:db8::1]:51820"
    assert str(Endpoint(address=FOUR, port=51820)) == "192.0.2.1:51820"


def test_the_slots_of_an_ipv6_prefix_are_127s() -> None:
    inner = IPv6Network("2001:db8::/120")
    slot = pair_slot(inner, "a", "b")
    assert slot < slot_capacity(inner) == 128
    low, high = slot_addresses(inner, slot, "a", "b")
    assert low.network == slot_network(inner, slot)
    assert low.network.prefixlen == 127
    assert high == slot_addresses(inner, slot, "b", "a")[0].ip
    assert high in low.network
    with pytest.raises(ValueError, match="holds no /127"):
        slot_capacity(IPv6Network("2001:db8::1/128"))


def path(prefix: IPv4Network | IPv6Network, address: IPv4Address | IPv6Address) -> LearnedRoute:
    return LearnedRoute(prefix=prefix, next_hop=address, neighbour=address, best=False)


def test_the_best_paths_of_both_families_are_chosen_side_by_side() -> None:
    paths = [path(NET_6, SIX), path(NET_4, SIX), path(NET_4, FOUR), path(NET_6, FOUR)]
    chosen = decide(paths)
    assert [each.prefix for each in chosen] == [NET_4, NET_4, NET_6, NET_6]
    assert [each.neighbour for each in chosen] == [FOUR, SIX, FOUR, SIX]
    assert all(each.best for each in chosen)
