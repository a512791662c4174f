"""The codec and the conversation of the scripted BGP peers."""

from __future__ import annotations

import asyncio
import secrets
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routerd.testing.bgp import (
    Attribute,
    Capability,
    Conversation,
    Flag,
    Keepalive,
    Message,
    Notification,
    Open,
    RouteRefresh,
    Update,
    decode,
    dial,
    encode,
    establish,
    open_message,
    path_attributes,
    update_message,
)
from routerd.testing.bgp.wire import HEADER

PREFIX = IPv4Network("10.88.1.0/25")
SOURCE, NEXT_HOP = IPv4Address("127.0.0.1"), IPv4Address("192.0.2.1")

addresses = st.integers(0, 2**32 - 1).map(IPv4Address)
prefixes = st.builds(
    lambda address, length: IPv4Network((int(address) >> (32 - length) << (32 - length), length)),
    addresses,
    st.integers(0, 32),
)
attributes = st.builds(
    Attribute,
    st.sampled_from([0x40, 0x80, 0xC0, 0xE0]),
    st.integers(1, 255),
    st.binary(max_size=255),
)
capability = st.builds(Capability, st.integers(0, 255), st.binary(max_size=20))
messages = st.one_of(
    st.builds(
        Open,
        my_as=st.integers(0, 65535),
        router_id=addresses,
        hold_time=st.integers(0, 65535),
        version=st.integers(0, 255),
        capabilities=st.lists(capability, max_size=8).map(tuple),
    ),
    st.builds(
        Update,
        attributes=st.lists(attributes, max_size=8).map(tuple),
        reach=st.lists(prefixes, max_size=50).map(tuple),
        withdrawn=st.lists(prefixes, max_size=50).map(tuple),
    ),
    st.builds(Notification, st.integers(0, 255), st.integers(0, 255), st.binary(max_size=50)),
    st.builds(RouteRefresh, st.integers(0, 65535), st.integers(0, 255)),
    st.just(Keepalive()),
)


def read(data: bytes) -> Message:
    """Return the one message in `data`."""
    assert int.from_bytes(data[16:18], "big") == len(data)
    return decode(data[18], data[HEADER:])


@given(messages)
def test_what_is_encoded_is_decoded(message: Message) -> None:
    assert read(encode(message)) == message


def test_the_messages_of_the_scripted_speaker_are_read() -> None:
    opened = read(open_message(4_200_000_001, SOURCE))
    assert isinstance(opened, Open)
    assert (opened.asn, opened.my_as, opened.router_id) == (4_200_000_001, 23456, SOURCE)
    update = read(update_message(PREFIX, NEXT_HOP))
    assert isinstance(update, Update)
    assert update.reach == (PREFIX,)
    assert (update.path.next_hop, update.path.local_preference, update.path.as_path) == (NEXT_HOP, 100, ())


def test_a_view_reads_what_path_attributes_made() -> None:
    made = path_attributes(
        NEXT_HOP,
        as_path=[64999, 4_200_000_001],
        med=7,
        communities=["64512:100"],
        originator=SOURCE,
        clusters=[NEXT_HOP, SOURCE],
    )
    path = Update(attributes=made).path
    assert path.codes == [1, 2, 3, 4, 5, 8, 9, 10]
    assert path.as_path == (64999, 4_200_000_001)
    assert (path.med, path.communities) == (7, {"64512:100"})
    assert (path.originator, path.clusters) == (SOURCE, (NEXT_HOP, SOURCE))


def test_a_long_attribute_has_an_extended_length() -> None:
    (attribute,) = _attributes(Attribute(Flag.OPTIONAL, 99, bytes(300)))
    assert attribute == Attribute(Flag.OPTIONAL | Flag.EXTENDED, 99, bytes(300))


def test_a_message_longer_than_bgp_allows_is_not_made() -> None:
    with pytest.raises(ValueError, match="BGP allows 4096"):
        encode(Update(reach=tuple(IPv4Network((number, 32)) for number in range(900))))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (2, b"\0\0\0\x05\x40\x01\x04\0\0"),
        (2, b"\0\0\0\0\x21\x0a\0\0\0\0"),
        (2, b"\0\0\0\0\x20\x0a"),
        (4, b"x"),
    ],
    ids=["attribute", "prefix length", "short prefix", "long keepalive"],
)
def test_a_malformed_message_is_an_error(kind: int, body: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        decode(kind, body)


def _attributes(*given: Attribute) -> tuple[Attribute, ...]:
    update = read(encode(Update(attributes=given)))
    assert isinstance(update, Update)
    return update.attributes


class Echo:
    """The other side: it sends the messages of the test and records its own."""

    def __init__(self) -> None:
        self.talks: asyncio.Queue[Conversation] = asyncio.Queue()
        self.address = IPv4Address(f"127.{1 + secrets.randbelow(250)}.{secrets.randbelow(250)}.1")
        self.port = 0

    async def start(self) -> asyncio.Server:
        """Listen, on a port that is free."""
        server = await asyncio.start_server(self._accept, str(self.address), 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.talks.put(Conversation(reader, writer))


class TestConversation:
    async def test_it_adds_up_what_came_and_expects_in_order(self) -> None:
        echo = Echo()
        async with await echo.start():
            ours = await dial(SOURCE, echo.address, echo.port)
            theirs = await echo.talks.get()
            made = path_attributes(NEXT_HOP)
            await theirs.send(Update(attributes=made, reach=(PREFIX,)), Keepalive())
            await ours.expect(Keepalive)
            assert ours.routes[PREFIX].next_hop == NEXT_HOP
            await theirs.send(Update(withdrawn=(PREFIX,)), Notification(6, 2))
            said = await ours.expect(Notification)
            assert said.error == (6, 2)
            assert not ours.routes
            assert ours.mentions(PREFIX) == 2
            await theirs.aclose()
            assert await ours.until_ended() == Notification(6, 2)
            await ours.aclose()

    async def test_what_does_not_come_is_said_in_words(self) -> None:
        echo = Echo()
        async with await echo.start():
            ours = await dial(SOURCE, echo.address, echo.port)
            theirs = await echo.talks.get()
            await theirs.send(RouteRefresh())
            with pytest.raises(AssertionError, match="no Open that was expected within"):
                await ours.expect(Open, deadline=0.2)
            await theirs.send(b"\xff" * 16 + b"\0\x15\x02\0\0")
            with pytest.raises(AssertionError, match=r"ended before the Open.*malformed"):
                await ours.expect(Open)
            await ours.aclose()
            await theirs.aclose()

    async def test_establish_tries_again_when_it_is_turned_away(self) -> None:
        echo = Echo()
        opening = Open.of(64512, SOURCE)
        async with await echo.start():
            task = asyncio.create_task(establish(SOURCE, echo.address, echo.port, opening, keepalive=0.01))
            first = await echo.talks.get()
            await first.send(Notification(6, 5))
            await first.aclose()
            second = await echo.talks.get()
            await second.send(opening, Keepalive())
            ours = await task
            assert await second.expect(Open) == opening
            for _ in range(3):
                await second.expect(Keepalive)
            await ours.aclose()
            await second.until_ended()
            await second.aclose()
