"""A neighbour that sends malformed messages harms itself at most; a real speaker on loopback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv4Address
from itertools import islice
from pathlib import Path

import attrs
import pytest

from routerd.model.session import ImportPolicy, Session, SessionState, Timers
from routerd.testing.bgp import Conversation, Open, establish
from routerd_bgp_ryu.screen import NOTIFICATION, OPEN, ROUTE_REFRESH, UPDATE, Fault, Framer, Screen, Terms
from routerd_bgp_ryu.testing.mutation import Mutator, corpus
from routerd_bgp_ryu.testing.nodes import ASN, OWNER, PORT, Node, Nodes, alive, host, put, until
from routerd_bgp_ryu.testing.raw import (
    USUAL,
    attribute,
    message,
    notification,
    opening,
    refresh,
    update,
)

pytestmark = pytest.mark.live

A, B = "10.88.1.1/32", "10.88.2.1/32"
KEEPALIVE = message(4, b"")
HELD = Session(
    peer_asn=ASN,
    owner=OWNER,
    passive=True,
    route_reflector_client=True,
    timers=Timers(connect_retry=1, hold=9, keepalive=3),
)
GOOD = update(USUAL, A)


@attrs.define
class Fabric:
    """A reflector with three clients: one that misbehaves, one with a route, and one that looks on."""

    rr: Node
    bad: Conversation
    source: Conversation
    watcher: Conversation
    before: dict[IPv4Address, SessionState] = attrs.field(factory=dict)

    async def state(self, number: int) -> SessionState:
        """Return how a client's session does."""
        return (await self.states())[self.rr.address + number]

    async def states(self) -> dict[IPv4Address, SessionState]:
        return {each.neighbour: each for each in await self.rr.routing.states()}

    async def others_go_on(self) -> None:
        """Make sure that the two other sessions are those that were there at first."""
        states = await self.states()
        for number in (102, 103):
            now, before = states[self.rr.address + number], self.before[self.rr.address + number]
            assert (now.established, now.since, now.last_error) == (True, before.since, "")
        assert not any(each.ended or each.malformed for each in (self.source, self.watcher))
        assert host(B) in self.watcher.routes


async def client(rr: Node, number: int) -> Conversation:
    """Bring up the session of a client."""
    opening = Open.of(ASN, IPv4Address("10.99.0.0") + number)
    return await establish(rr.address + number, rr.address, PORT, opening)


@asynccontextmanager
async def fabric(nodes: Nodes) -> AsyncIterator[Fabric]:
    """Start the reflector and bring up the sessions of its clients."""
    rr = nodes()
    await rr.start()
    for number, prefix in ((101, A), (102, B), (103, "10.88.3.1/32")):
        await put(
            rr.routing.import_policies, rr.address + number, ImportPolicy(hosts=frozenset({host(prefix)}))
        )
        await put(rr.routing.sessions, rr.address + number, HELD)
    made = Fabric(rr, *[await client(rr, number) for number in (101, 102, 103)])
    try:
        await made.source.send(update(USUAL, B))
        await made.watcher.until(lambda: host(B) in made.watcher.routes)
        made.before = await made.states()
        yield made
    finally:
        for talk in (made.bad, made.source, made.watcher):
            await talk.aclose()


@pytest.mark.parametrize(
    ("said", "reason", "words"),
    [
        (update(USUAL + attribute(0xC0, 8, b"xyz"), A), "malformed-attribute", "COMMUNITIES of 3 octets"),
        (update(USUAL[4:], A), "missing-attribute", "ORIGIN is missing"),
        (update(USUAL.replace(b"\x0a\x00\x00\x05", bytes(4)), A), "invalid-next-hop", "NEXT_HOP 0.0.0.0"),
        (
            update(
                USUAL.replace(
                    b"\x40\x02\x00", attribute(0x50, 2, b"\x02\xff" + b"\0\0\1\1" * 255 + b"\x02\1\0\0\1\1")
                ),
                A,
            ),
            "as-path-too-long",
            "AS_PATH of more than 255 AS numbers",
        ),
    ],
    ids=["attribute", "missing", "next hop", "path"],
)
async def test_a_malformed_update_withdraws_its_routes_and_the_session_stays(
    nodes: Nodes, said: bytes, reason: str, words: str
) -> None:
    async with fabric(nodes) as made:
        await made.bad.send(GOOD)
        await made.watcher.until(lambda: host(A) in made.watcher.routes)
        await made.bad.send(said)
        await made.watcher.until(lambda: host(A) not in made.watcher.routes)
        state = await made.state(101)
        assert (state.established, state.since) == (True, made.before[made.rr.address + 101].since)
        assert (state.accepted, state.rejected) == (0, ((reason, 1),))
        assert state.last_error.startswith("received malformed UPDATE: " + words)
        await until(lambda: made.rr.rejected() == {A: reason}, "the daemon is told")
        await made.bad.send(GOOD)
        await made.watcher.until(lambda: host(A) in made.watcher.routes)
        state = await made.state(101)
        assert (state.accepted, state.rejected) == (1, ())
        await made.others_go_on()


async def test_what_is_withdrawn_after_it_was_malformed_is_rejected_no_more(nodes: Nodes) -> None:
    async with fabric(nodes) as made:
        await made.bad.send(update(USUAL[4:], A), update(withdrawn=(A,)), update(USUAL[4:], B))
        await until(lambda: made.rr.rejected() == {B: "missing-attribute"}, "the second one only")
        await made.bad.send(notification(6, 4))
        await until(lambda: made.rr.rejected() == {}, "nor after the session")


async def test_an_attribute_that_nobody_here_knows_is_passed_on(nodes: Nodes) -> None:
    """Whole, and marked as partial; what is discarded is left out, and the session has no error."""
    async with fabric(nodes) as made:
        odd = attribute(0xC0, 40, b"\x05\x00\x03\x00\xff\xff") + attribute(0x80, 29, b"\x04")
        await made.bad.send(update(USUAL + odd + attribute(0x40, 6, b"x"), A))
        await made.watcher.until(lambda: host(A) in made.watcher.routes)
        found = {int(each.code): each for each in made.watcher.routes[host(A)].attributes}
        assert (int(found[40].flags) & 0xE0, found[40].value) == (0xE0, b"\x05\x00\x03\x00\xff\xff")
        assert not {29, 6} & set(found)
        assert (await made.state(101)).last_error == ""
        await made.others_go_on()


ODD_REFRESH = refresh(b"\x00\x01\x00\x01\x01\x80\xff\xff")


@pytest.mark.parametrize(
    ("said", "code", "data", "words"),
    [
        (b"\xfe" * 19, (1, 1), b"", "connection not synchronized (1/1): the marker"),
        (message(6, b""), (1, 3), b"\x06", "bad message type (1/3): a message of type 6"),
        (message(2, update(USUAL)[19:] + b"\x21" + bytes(5)), (3, 10), b"", "invalid network field (3/10)"),
        (update(USUAL + attribute(0x40, 77, b"x"), A), (3, 2), attribute(0x40, 77, b"x"), "(3/2)"),
        (ODD_REFRESH, (7, 1), ODD_REFRESH, "invalid ROUTE-REFRESH length (7/1)"),
        (opening(), (5, 0), b"", "(5/"),
    ],
    ids=["marker", "type", "network", "well-known", "refresh", "OPEN again"],
)
async def test_what_ends_a_session_ends_no_other(
    nodes: Nodes, said: bytes, code: tuple[int, int], data: bytes, words: str
) -> None:
    async with fabric(nodes) as made:
        await made.bad.send(GOOD)
        await made.watcher.until(lambda: host(A) in made.watcher.routes)
        await made.bad.send(said + update(USUAL, B))
        heard = await made.bad.until_ended()
        assert heard is not None
        assert heard.code == code[0]
        assert code == (5, 0) or (heard.error, heard.data) == (code, data)
        await made.watcher.until(lambda: host(A) not in made.watcher.routes)
        state = await made.state(101)
        assert not state.established
        assert words in state.last_error
        await made.bad.aclose()
        made.bad = await client(made.rr, 101)
        await made.bad.send(GOOD)
        await made.watcher.until(lambda: host(A) in made.watcher.routes)
        assert (await made.state(101)).last_error == ""
        await made.others_go_on()


# --- a flood ---------------------------------------------------------------------------------------

CORPUS = Path(__file__).parent / "corpus"
MESSAGES = 10_000
BURST = 25


def bursts(terms: Terms) -> list[tuple[bytes, Fault | None]]:
    """Return what is sent on each of many sessions, up to what ends it, and that end.

    The screen says itself what that is; that it is right is tested elsewhere.
    """
    recorded = corpus(CORPUS)
    chosen = [each for each in recorded if each[18] in (UPDATE, ROUTE_REFRESH)]
    chosen += [each for each in recorded if each[18] in (OPEN, NOTIFICATION)][::8]
    messages = islice(Mutator(chosen, 11), MESSAGES)
    made: list[tuple[bytes, Fault | None]] = []
    said: list[bytes] = []
    for each in messages:
        end = ending(each, terms)
        said.append(each)
        if end or len(said) == BURST:
            made.append((b"".join(said), end if isinstance(end, Fault) else None))
            said = []
    return made


def ending(said: bytes, terms: Terms) -> Fault | bool:
    """Return how a message ends an established session, if it does."""
    left = len(said)
    for whole in Framer().feed(said):
        if isinstance(whole, Fault):
            return whole
        left -= len(whole)
        verdict = Screen(terms).judge(whole)
        if verdict.fault is not None:
            return verdict.fault
        if whole[18] in (OPEN, NOTIFICATION):
            return True
    return left > 0  # what comes next would be taken for the rest of it


async def one_session(source: IPv4Address, address: IPv4Address, said: bytes) -> tuple[int, int] | None:
    """Open a session, say everything at once, and return the NOTIFICATION that comes."""
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(str(address), PORT, local_addr=(str(source), 0))
        heard = b""
        writer.write(opening() + KEEPALIVE + said + notification(6, 4))
        with suppress(OSError):  # after a NOTIFICATION of ours what follows it is not read
            writer.write_eof()
            while more := await reader.read(4096):
                heard += more
        writer.close()
    for each in Framer().feed(heard):
        if isinstance(each, bytes) and each[18] == NOTIFICATION:
            return each[19], each[20]
    return None


def resident(pid: int) -> int:
    """Return how much memory a process has, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS"))


async def looks(node: Node, took: list[float]) -> None:
    """Ask the speaker for everything, again and again; note how long it takes, in seconds."""
    while True:
        start = time.monotonic()
        await node.routing.states()
        took.append(time.monotonic() - start)
        await asyncio.sleep(0.05)


@pytest.mark.timeout(400)
async def test_thousands_of_malformed_messages_harm_nobody_else(nodes: Nodes, short_path: Path) -> None:
    async with fabric(nodes) as made:
        await made.bad.aclose()
        address, source = made.rr.address, made.rr.address + 101
        pid, took = await made.rr.pid(), list[float]()
        before = resident(pid)
        watching = asyncio.create_task(looks(made.rr, took))
        terms = Terms(asn=ASN, peer_asn=ASN, router_id=address, cluster_id=address, local=address)
        sent = 0
        for said, end in bursts(terms):
            sent += 1
            heard = await one_session(source, address, said)
            assert end is None or heard == end.code, f"{heard} and not {end}: {said.hex()}"
        watching.cancel()
        assert sent
        assert alive(pid)
        assert max(took) < 2, "the speaker stalls"
        assert resident(pid) - before < 40
        logs = [each for each in short_path.rglob("speaker.log*") if each.is_file()]
        assert 0 < sum(each.stat().st_size for each in logs) < 400_000
        assert not any("Traceback" in each.read_text() for each in logs)
        await made.others_go_on()
        made.bad = await client(made.rr, 101)
        await made.bad.send(GOOD)
        await made.watcher.until(lambda: host(A) in made.watcher.routes)


async def test_malformed_opens_are_refused_and_a_good_one_is_not(nodes: Nodes) -> None:
    async with fabric(nodes) as made:
        await made.bad.aclose()
        address, source = made.rr.address, made.rr.address + 101
        opens = [each for each in corpus(CORPUS) if each[18] == OPEN]
        for said in islice(Mutator(opens, 12), 300):
            async with asyncio.timeout(20):
                reader, writer = await asyncio.open_connection(
                    str(address), PORT, local_addr=(str(source), 0)
                )
                writer.write(said + notification(6, 4))
                with suppress(OSError):
                    writer.write_eof()
                    await reader.read()
                writer.close()
        made.bad = await client(made.rr, 101)
        await made.bad.send(GOOD)
        await made.watcher.until(lambda: host(A) in made.watcher.routes)
        await made.others_go_on()
