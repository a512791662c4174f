"""Route requests as bytes: a packed route reads back the same."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routerd.kernel.routes import messages as wire
from routerd.kernel.routes.dump import DumpReader, identity
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


DONE = wire.HEADER.pack(20, wire.NLMSG_DONE, 2, 1, 0) + bytes(4)


def payload(message: bytes) -> memoryview:
    (only,) = wire.messages(memoryview(message))
    return only[3]


def reader_of(*datagrams: bytes) -> DumpReader:
    reader = DumpReader(NAMES.__getitem__)
    assert [reader.read(each) for each in datagrams] == [False] * (len(datagrams) - 1) + [True]
    return reader


def found(reader: DumpReader) -> list[tuple[RouteKey, int, Route | None]]:
    pairs = zip(reader.destinations, reader.forms, strict=True)
    return [(form.key(destination), form.protocol, form.route) for destination, form in pairs]


@given(st.lists(st.tuples(keys, routes), max_size=8))
def test_packed_routes_read_back_the_same(several: list[tuple[RouteKey, Route]]) -> None:
    requests = [wire.new_route(key, route, flags=1, index_of=LINKS.__getitem__) for key, route in several]
    reader = reader_of(b"".join([*requests, DONE]))
    assert found(reader) == [(key, ROUTE_PROTOCOL, route) for key, route in several]
    places = zip(reader.destinations, reader.forms, strict=True)
    assert [destination + form.place for destination, form in places] == [identity(key) for key, _ in several]


@given(keys, routes, st.lists(addresses, min_size=1, max_size=5))
def test_copies_differ_only_in_destination_and_number(
    key: RouteKey, route: Route, destinations: list[IPv4Address]
) -> None:
    request = wire.new_route(key, route, flags=1, index_of=LINKS.__getitem__)
    copied = bytes(wire.copies(request, [int(each) for each in destinations], first=7))
    assert [number for _, _, number, _ in wire.messages(memoryview(copied))] == [
        7 + count for count in range(len(destinations))
    ]
    size = len(request)
    for count, destination in enumerate(destinations):
        one = copied[count * size : (count + 1) * size]
        assert one[40:44] == destination.packed
        assert one[:8] + one[12:40] + one[44:] == request[:8] + request[12:40] + request[44:]


@given(keys)
def test_a_deletion_names_our_protocol(key: RouteKey) -> None:
    assert payload(wire.delete_route(key))[5] == ROUTE_PROTOCOL


def test_a_request_has_the_layout_of_the_kernel_headers() -> None:
    key = RouteKey(prefix=IPv4Network("10.77.60.11/32"))
    route = Route(next_hops=(NextHop(gateway=IPv4Address("10.255.0.1"), link=LinkName("eth0")),))
    request = wire.new_route(key, route, flags=0x601, index_of=LINKS.__getitem__)
    message = wire.copies(request, [int(key.prefix.network_address)], first=9)
    wire.ask_for_acknowledgement(message, 0)
    assert message.hex(" ", 4) == (
        "44000000 18000506 09000000 00000000"  # length 68, RTM_NEWROUTE, flags, sequence, port
        " 02200000 fe930001 00000000"  # AF_INET /32, table 254, protocol 147, universe, unicast
        " 08000f00 fe000000 08000100 0a4d3c0b 08000600 c8000000"  # table, destination, priority 200
        " 08000500 0aff0001 08000400 02000000"  # gateway, device
    )


def test_a_default_route_without_a_destination_is_read() -> None:
    key = RouteKey(prefix=IPv4Network("0.0.0.0/0"))
    whole = wire.new_route(key, Route(next_hops=(), kind="blackhole"), flags=2, index_of=LINKS.__getitem__)
    length = len(whole) - 8
    message = length.to_bytes(4, "little") + whole[4:36] + whole[44:]
    reader = reader_of(message + message, DONE)
    assert [each[0] for each in found(reader)] == [key, key]


def test_a_dump_that_the_kernel_gives_up_is_an_error() -> None:
    reader = reader_of(DONE[:16] + (-12).to_bytes(4, "little", signed=True))
    assert reader.error == (12, "")


@pytest.mark.parametrize("where", [0, 1, 2])
def test_an_interruption_counts_in_every_message_of_a_dump(where: int) -> None:
    request = wire.new_route(
        RouteKey(prefix=IPv4Network("10.0.0.1/32")), Route(next_hops=(), kind="blackhole"),
        flags=2, index_of=LINKS.__getitem__,
    )  # fmt: skip
    messages = [bytearray(request), bytearray(request), bytearray(DONE)]
    messages[where][6] |= wire.NLM_F_DUMP_INTR
    assert reader_of(b"".join(messages)).interrupted


@pytest.mark.parametrize("length", [0, 3, 15])
def test_a_truncated_datagram_yields_nothing(length: int) -> None:
    assert list(wire.messages(memoryview(bytes(length)))) == []
    assert not DumpReader(NAMES.__getitem__).read(bytes(length))
