"""Graceful restart (RFC 4724): what a neighbour had announced stays with others while it restarts."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from ipaddress import IPv4Address
from types import SimpleNamespace

import attrs
import pytest

from routerd.model.session import ImportPolicy
from routerd.testing.bgp import Capability, Conversation, Open, Update, establish, path_attributes
from routerd_bgp_ryu.child.restart import Graceful
from routerd_bgp_ryu.testing.nodes import ASN, FAST, PORT, Node, Nodes, established, host, pair, put, until

A, B = "10.88.70.1/32", "10.88.70.2/32"
CODE = 64
FORWARDS, SILENT = b"\x00\x01\x01\x80", b"\x00\x01\x01\x00"
"""IPv4 unicast, with the bit F and without it (RFC 4724 section 3)."""

END_OF_RIB = Update()


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def opened(*tuples: tuple[int, int, int], seconds: int = 60) -> SimpleNamespace:
    capability = SimpleNamespace(time=seconds, tuples=list(tuples))
    return SimpleNamespace(opt_param_cap_map={CODE: capability})


class TestPure:
    def graceful(self, clock: Callable[[], float], *, forwards: bool = True) -> Graceful:
        return Graceful(120, forwards=forwards, clock=clock)

    @pytest.mark.parametrize(
        ("forwards", "complete", "flags", "family"),
        [(False, False, 0, 0), (False, True, 0, 0x80), (True, False, 8, 0x80), (True, True, 0, 0x80)],
    )
    def test_only_who_forwards_says_so(self, forwards: bool, complete: bool, flags: int, family: int) -> None:
        said = self.graceful(Time(), forwards=forwards).capability(complete=complete)
        assert (said.cap_code, said.flags, said.time, said.tuples) == (CODE, flags, 120, [(1, 1, family)])

    def test_a_neighbour_has_the_time_that_it_asked_for_until_it_is_back(self) -> None:
        clock = Time()
        made = self.graceful(clock)
        made.up("n", opened((1, 1, 0x80)))
        made.lost("n", [A])
        clock.now = 59
        assert made.over() == []
        assert made.holds("n", A)
        assert not made.holds("n", B)
        assert not made.holds("m", A)
        clock.now = 60
        assert made.over() == ["n"]
        assert made.up("n", opened((1, 1, 0x80)))
        assert made.over() == []
        clock.now = 120
        assert made.over() == ["n"]
        assert made.leave("n")
        assert not made.leave("n")

    @pytest.mark.parametrize(
        "said", [SimpleNamespace(opt_param_cap_map={}), opened(), opened((2, 1, 0x80), (1, 2, 0x80))]
    )
    def test_nothing_is_kept_of_who_does_not_speak_it(self, said: SimpleNamespace) -> None:
        made = self.graceful(Time())
        assert not made.up("n", said)
        made.lost("n", [A])
        assert not made.holds("n", A)

    def test_what_is_permitted_no_more_is_not_kept(self) -> None:
        made = self.graceful(Time())
        made.up("n", opened((1, 1, 0)))
        made.lost("n", [A, B])
        assert not made.narrow("n", [A, B])
        assert made.narrow("n", [A])
        assert made.holds("n", A)
        assert not made.holds("n", B)
        assert not made.narrow("m", [])


async def fabric(nodes: Nodes, **options: object) -> tuple[Node, Node, Node]:
    """Return a reflector and two leaves; `one` has learned B of `two`, and both have heard everything."""
    rr, one, two = await pair(nodes, (A, B), **options)
    await two.announce(B)
    await until(lambda: B in one.learned(), "announced")
    await until(lambda: all(node.last.complete for node in (rr, one, two)), "complete")
    return rr, one, two


@asynccontextmanager
async def always_with(node: Node, prefix: str) -> AsyncIterator[None]:
    """Fail when a node is without a fresh path of a prefix at any time."""
    missing = 0

    async def watch() -> None:
        nonlocal missing
        while True:
            fresh = [str(each.prefix) for each in node.last.routes if each.best and not each.stale]
            missing += prefix not in fresh
            await asyncio.sleep(0.005)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    assert missing == 0


@pytest.mark.live
class TestSpeakers:
    async def test_others_do_not_notice_that_a_speaker_starts_anew(self, nodes: Nodes) -> None:
        rr, one, two = await fabric(nodes)
        async with always_with(one, B):
            os.kill(await two.pid(), signal.SIGKILL)
            await until(lambda: any(each.stale for each in rr.last.routes), "lost")
            again = nodes(two)
            await again.start()
            await again.join(rr)
            await again.announce(B)
            await until(lambda: again.last.complete, "complete again", FAST.hold * 5)
            await until(lambda: not any(each.stale for each in rr.last.routes), "heard again")

    async def test_what_it_announces_no_more_goes_when_it_has_said_everything(self, nodes: Nodes) -> None:
        rr, one, two = await fabric(nodes)
        os.kill(await two.pid(), signal.SIGKILL)
        await until(lambda: any(each.stale for each in rr.last.routes), "lost")
        assert B in one.learned()
        again = nodes(two)
        await again.start()
        await again.join(rr)
        await until(lambda: one.learned() == {}, "End-of-RIB", FAST.hold * 5)

    async def test_it_goes_when_the_time_is_over(self, nodes: Nodes) -> None:
        rr, one, two = await fabric(nodes, stale_time=timedelta(seconds=2))
        os.kill(await two.pid(), signal.SIGKILL)
        await until(lambda: any(each.stale for each in rr.last.routes), "lost")
        assert B in one.learned()
        await until(lambda: one.learned() == {}, "over")

    async def test_it_goes_with_the_session(self, nodes: Nodes) -> None:
        """A claim is revoked while its leaf is away."""
        rr, one, two = await fabric(nodes)
        os.kill(await two.pid(), signal.SIGKILL)
        await until(lambda: any(each.stale for each in rr.last.routes), "lost")
        session = (await rr.routing.sessions.observe())[two.address]
        began = time.monotonic()
        await put(rr.routing.sessions, two.address, None, session)
        await until(lambda: one.learned() == {}, "revoked")
        assert time.monotonic() - began < 1

    async def test_it_goes_when_it_is_not_permitted_any_more(self, nodes: Nodes) -> None:
        """An address moves to another leaf while the first one is away."""
        rr, one, two = await fabric(nodes)
        os.kill(await two.pid(), signal.SIGKILL)
        await until(lambda: any(each.stale for each in rr.last.routes), "lost")
        policy = (await rr.routing.import_policies.observe())[two.address]
        await put(rr.routing.import_policies, two.address, ImportPolicy(hosts=frozenset({host(A)})), policy)
        await until(lambda: one.learned() == {}, "not permitted")

    async def test_who_falls_silent_is_thought_dead(self, nodes: Nodes) -> None:
        rr, one, two = await fabric(nodes)
        pid = await two.pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            await until(lambda: one.learned() == {}, "hold time", FAST.hold * 3)
            assert (await rr.state(two)).last_error == "sent hold timer expired (4/0)"
        finally:
            os.kill(pid, signal.SIGCONT)

    async def test_a_live_path_is_preferred_at_once(self, nodes: Nodes) -> None:
        """The leaf that is away has the lower router ID, which would decide."""
        rr, one, two = await fabric(nodes)
        three = nodes()

        def marks() -> list[frozenset[str]]:
            return [each.communities for each in one.last.routes if str(each.prefix) == B]

        await three.start()
        await rr.serve(three, B)
        await three.join(rr)
        await established((three, rr))
        os.kill(await two.pid(), signal.SIGKILL)
        await until(lambda: any(each.stale for each in rr.last.routes), "lost")
        await three.announce(B, communities=frozenset({"64577:3"}))
        await until(lambda: marks() == [{"64577:3"}], "the one that lives")
        async with always_with(one, B):
            again = nodes(two)
            await again.start()
            await again.join(rr)
            await again.announce(B)
            await until(lambda: marks() == [set()], "back")


@pytest.mark.live
class TestScripted:
    """Neighbours whose every octet is ours."""

    async def talk(self, rr: Node, source: IPv4Address, *families: bytes) -> Conversation:
        message = Open.of(ASN, source)
        more = tuple(Capability(CODE, b"\x00\x3c" + each) for each in families)
        wanted = attrs.evolve(message, capabilities=(*message.capabilities, *more))
        return await establish(source, rr.address, PORT, wanted, deadline=20)

    async def world(self, nodes: Nodes, *families: bytes) -> tuple[Node, Node, Node, Conversation]:
        rr, one, scripted = nodes(), nodes(), nodes()
        for node in (rr, one):
            await node.start()
        await rr.serve(one, A)
        await rr.serve(scripted, B)
        await one.join(rr)
        await established((one, rr))
        talk = await self.talk(rr, scripted.address, *families)
        await self.announce(talk, scripted)
        await until(lambda: B in one.learned(), "announced")
        return rr, one, scripted, talk

    async def announce(self, talk: Conversation, scripted: Node) -> None:
        await talk.send(Update(attributes=path_attributes(scripted.address), reach=(host(B),)))

    async def test_who_does_not_speak_it_takes_its_routes_along(self, nodes: Nodes) -> None:
        _, one, _, talk = await self.world(nodes)
        await talk.aclose()
        await until(lambda: one.learned() == {}, "withdrawn")

    async def test_who_forwards_no_more_takes_its_routes_along(self, nodes: Nodes) -> None:
        """Its host has restarted: section 4.2 wants the routes removed at once."""
        rr, one, scripted, talk = await self.world(nodes, FORWARDS)
        await talk.aclose()
        await until(lambda: any(each.stale for each in rr.last.routes), "lost")
        assert B in one.learned()
        again = await self.talk(rr, scripted.address, SILENT)
        await until(lambda: one.learned() == {}, "withdrawn")
        await again.aclose()

    async def test_who_is_back_has_its_own_until_it_says_end_of_rib(self, nodes: Nodes) -> None:
        rr, one, scripted, talk = await self.world(nodes, FORWARDS)
        await talk.aclose()
        again = await self.talk(rr, scripted.address, FORWARDS)
        await self.announce(again, scripted)
        await until(lambda: [each.stale for each in rr.last.routes] == [False], "announced again")
        async with always_with(one, B):
            await again.send(END_OF_RIB)
            await again.send(Update(attributes=path_attributes(scripted.address), reach=(host(A),)))
            await until(lambda: A in rr.rejected(), "what was sent after it")
        await again.aclose()

    async def test_who_waits_to_be_dialed_does_not_say_that_it_comes_back(self, nodes: Nodes) -> None:
        """A neighbour that kept our routes would wait too."""
        _, _, _, talk = await self.world(nodes, FORWARDS)
        (heard,) = talk.all(Open)
        assert CODE not in [each.code for each in heard.capabilities]
        await talk.aclose()
