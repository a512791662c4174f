"""How often who may ask, and how many connections who may hold."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address

import pytest
from tests.unit.control.listener_world import CLAIMS, ENVELOPE, served

from routerd.control.listener import DEAF_SECONDS
from routerd.control.rate_limit import ConnectionLimit, RateLimit
from routerd.testing.clock import FakeClock

ONE, OTHER = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")


class TestRateLimit:
    async def test_each_source_has_its_own(self, fake_clock: FakeClock) -> None:
        limit = RateLimit(clock=fake_clock, rate=1, burst=1)
        one, other = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
        assert [limit.wait(one), limit.wait(one), limit.wait(other)] == [0, 1, 0]

    async def test_a_host_with_many_ipv6_addresses_is_one_source(self, fake_clock: FakeClock) -> None:
        limit = RateLimit(clock=fake_clock, rate=1, burst=1)
        waits = [limit.wait(IPv6Address(f"2001:db8::{n}")) for n in range(1, 4)]
        assert waits == [0, 1, 1]
        assert limit.wait(IPv6Address("2001:db8:0:1::1")) == 0

    async def test_it_refills_to_its_burst(self, fake_clock: FakeClock) -> None:
        limit = RateLimit(clock=fake_clock, rate=10, burst=2)
        source = IPv4Address("192.0.2.1")
        await fake_clock.advance(100)
        assert [limit.wait(source) for _ in range(3)] == [0, 0, 1]
        await fake_clock.advance(100)
        assert [limit.wait(source) for _ in range(3)] == [0, 0, 1]

    async def test_its_memory_is_bounded(self, fake_clock: FakeClock) -> None:
        limit = RateLimit(clock=fake_clock, burst=1, sources=10)
        for n in range(100):
            limit.wait(IPv4Address(n + 1))
        assert len(limit._buckets) == 10


class TestAllTogether:
    async def test_all_sources_have_one_limit_and_it_refills(self, fake_clock: FakeClock) -> None:
        limit = RateLimit(clock=fake_clock, total_rate=0.5, total_burst=3)
        assert [limit.wait_for_all() for _ in range(5)] == [0, 0, 0, 2, 2]
        await fake_clock.advance(2)
        assert [limit.wait_for_all() for _ in range(2)] == [0, 2]
        await fake_clock.advance(1000)
        assert [limit.wait_for_all() for _ in range(4)] == [0, 0, 0, 2]

    async def test_who_is_refused_by_its_own_limit_takes_nothing_from_the_others(
        self, fake_clock: FakeClock
    ) -> None:
        limit = RateLimit(clock=fake_clock, rate=0.01, burst=5, total_rate=0.01, total_burst=10)
        async with served(fake_clock, limit=limit) as listener:
            noisy = [(await listener.ask("POST", CLAIMS, json=ENVELOPE))[0] for _ in range(40)]
            assert noisy == [200] * 5 + [429] * 35
            assert [limit.wait_for_all() for _ in range(6)][-2:] == [0, 100]

    async def test_the_limit_of_all_is_answered_with_when_to_come_again(self, fake_clock: FakeClock) -> None:
        limit = RateLimit(clock=fake_clock, total_rate=0.1, total_burst=1)
        async with served(fake_clock, limit=limit) as listener:
            assert (await listener.ask("POST", CLAIMS, json=ENVELOPE))[0] == 200
            status, headers, body = await listener.ask("POST", CLAIMS, json=ENVELOPE)
            assert (status, headers["Retry-After"]) == (429, "10")
            assert body["error"]["reason"] == "rate-limited"  # type: ignore[index]  # JSON
            await fake_clock.advance(10)
            assert (await listener.ask("POST", CLAIMS, json=ENVELOPE))[0] == 200

    async def test_who_guesses_the_token_takes_nothing_from_those_that_have_it(
        self, fake_clock: FakeClock
    ) -> None:
        limit = RateLimit(clock=fake_clock, rate=1000, burst=1000, total_rate=0.01, total_burst=2)
        async with served(fake_clock, limit=limit, token="t") as listener:
            guesses = [(await listener.ask("POST", CLAIMS, json=ENVELOPE))[0] for _ in range(210)]
            assert guesses == [401] * 200 + [429] * 10
            known = {"Authorization": "Bearer t"}
            statuses = [
                (await listener.ask("POST", CLAIMS, json=ENVELOPE, headers=known))[0] for _ in range(3)
            ]
            assert statuses == [200, 200, 429]

    async def test_a_fabric_of_2000_leaves_gets_through(self, fake_clock: FakeClock) -> None:
        limit = RateLimit(clock=fake_clock)
        leaves = [IPv4Address("10.0.0.0") + number for number in range(2000)]

        def refused(requests: int) -> int:
            asked = (leaf for leaf in leaves for _ in range(requests))
            return sum(1 for leaf in asked if limit.wait(leaf) or limit.wait_for_all())

        # All of them enroll again at once after a reflector's loss, then look each minute.
        assert refused(2) == 0
        for _ in range(10):
            await fake_clock.advance(60)
            assert refused(1) == 0


class TestConnectionLimit:
    def test_each_source_has_so_many_and_all_together(self) -> None:
        limit = ConnectionLimit(total=3, each=2)
        assert [limit.enter(ONE), limit.enter(ONE), limit.enter(ONE)] == [True, True, False]
        assert [limit.enter(OTHER), limit.enter(OTHER)] == [True, False]
        limit.leave(ONE)
        assert [limit.enter(OTHER), limit.enter(ONE)] == [True, False]

    def test_nothing_is_remembered_of_who_has_left(self) -> None:
        limit = ConnectionLimit()
        for number in range(100):
            assert limit.enter(ONE + number)
            limit.leave(ONE + number)
        assert (limit.count, limit._held) == (0, {})

    def test_a_host_with_many_ipv6_addresses_is_one_source(self) -> None:
        limit = ConnectionLimit(each=1)
        assert limit.enter(IPv6Address("2001:db8::1"))
        assert not limit.enter(IPv6Address("2001:db8::2"))
        assert limit.enter(IPv6Address("2001:db8:0:1::1"))


class TestConnections:
    async def test_one_too_many_is_reset_and_another_source_is_served(self, fake_clock: FakeClock) -> None:
        limit = ConnectionLimit(each=3)
        async with served(fake_clock, gate=lambda _: limit) as listener:
            held = [await listener.connect() for _ in range(3)]
            with pytest.raises(ConnectionResetError):
                await listener.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = await listener.send(
                b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", source="127.0.0.2"
            )
            assert b" 404 " in answer
            for _, writer in held:
                writer.close()
                await writer.wait_closed()
            await fake_clock.settle()
            answer = await listener.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b" 404 " in answer

    async def test_many_at_once_are_reset_and_the_rest_served(self, fake_clock: FakeClock) -> None:
        limit = ConnectionLimit(each=100, total=50)
        async with served(fake_clock, gate=lambda _: limit) as listener:
            held = []

            async def answered() -> bool:
                try:
                    reader, writer = await listener.connect()
                    held.append(writer)
                    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                    return b" 404 " in await reader.readline()
                except ConnectionResetError:
                    return False

            answers = await asyncio.gather(*(answered() for _ in range(300)))
            assert sum(answers) == limit.count == 50
            for writer in held:
                writer.close()
            async with asyncio.timeout(10):
                while limit.count:
                    await fake_clock.settle()

    async def test_every_end_of_a_connection_is_counted(self, fake_clock: FakeClock) -> None:
        limit = ConnectionLimit()
        async with served(fake_clock, slow=0.1, gate=lambda _: limit) as listener:
            await listener.send(b"no HTTP at all\r\n\r\n")
            await listener.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            await listener.send(b"GET / HTTP/1.1\r\nHost: ")
            _, writer = await listener.connect()
            writer.transport.abort()
            async with asyncio.timeout(10):
                while limit.count:
                    await fake_clock.settle()

    async def test_who_never_reads_is_cut_off_by_the_kernel(self, fake_clock: FakeClock) -> None:
        # Half a minute is too long for a test; that each connection inherits the setting is not.
        async with served(fake_clock) as listener:
            _, writer = await listener.connect()
            async with asyncio.timeout(10):
                while not listener.listener.server.connections:  # type: ignore[union-attr]  # it serves
                    await fake_clock.settle()
            (found,) = listener.listener.server.connections  # type: ignore[union-attr]  # it serves
            accepted = found.transport.get_extra_info("socket")  # type: ignore[union-attr]  # it is open
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == DEAF_SECONDS * 1000
            writer.close()
