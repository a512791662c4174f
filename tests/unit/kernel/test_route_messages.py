"""Route requests as bytes: what is packed is what is read."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routerd.kernel import route_messages as wire
from routerd.model.names import LinkName
from routerd.model.route import ROUTE_PROTOCOL, NextHop, Route, RouteKey

LINKS = {LinkName("eth0"): 2, LinkName("samt0123"): 7}
NAMES = {index: name for name, index in LINKS.items()}

addresses = st.integers(1, 2**32 - 2).map(IPv4Address)
hops = st.builds(
    NextHop, gateway=st.none() | addresses, link=st.sampled_from(sorted(LINKS)), onlink=st.booleans()
)
routes = st.builds(
    Route, next_hops=st.lists(hops, min_size=1, max_size=16).map(tuple), source=st.none() | addresses
) | st.just(Route(next_hops=(), kind="blackhole"))
keys = st.builds(
    RouteKey,
    prefix=st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(
        lambda p: IPv4Network(p, strict=False)
    ),
    metric=st.integers(0, 2**32 - 1),
    table=st.integers(1, 2**32 - 1),
)


def payload(message: bytes) -> memoryview:
    (only,) = wire.messages(memoryview(message))
    return only[3]


@given(keys, routes)
def test_a_packed_route_reads_back_the_same(key: RouteKey, route: Route) -> None:
    message = wire.new_route(key, route, flags=1, sequence=5, index_of=LINKS.__getitem__)
    found = wire.read_route(payload(message), NAMES.__getitem__)
    assert found == wire.FoundRoute(key=key, protocol=ROUTE_PROTOCOL, route=route)


@given(keys)
def test_a_deletion_names_our_protocol(key: RouteKey) -> None:
    message = wire.delete_route(key, sequence=1)
    assert payload(message)[5] == ROUTE_PROTOCOL


def test_a_request_is_what_the_kernel_headers_say() -> None:
    key = RouteKey(prefix=IPv4Network("10.77.60.11/32"))
    route = Route(next_hops=(NextHop(gateway=IPv4Address("10.255.0.1"), link=LinkName("eth0")),))
    message = wire.new_route(key, route, flags=0x605, sequence=9, index_of=LINKS.__getitem__)
    assert message.hex(" ", 4) == (
        "44000000 18000506 09000000 00000000"  # length 68, RTM_NEWROUTE, flags, sequence, port
        " 02200000 fe930001 00000000"  # AF_INET /32, table 254, protocol 147, universe, unicast
        " 08000f00 fe000000 08000100 0a4d3c0b 08000600 c8000000"  # table, destination, priority 200
        " 08000500 0aff0001 08000400 02000000"  # gateway, device
    )


@pytest.mark.parametrize("length", [0, 3, 15])
def test_a_truncated_datagram_yields_nothing(length: int) -> None:
    assert list(wire.messages(memoryview(bytes(length)))) == []
