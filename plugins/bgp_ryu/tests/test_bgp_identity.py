"""Only the speaker that a claim names gets the session of its leaf; real speakers on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from ipaddress import IPv4Address

import attrs
import pytest

from routerd.model.session import ImportPolicy, Session, SessionState
from routerd.testing.bgp import KEEPALIVE, ScriptedSpeaker, open_message, update_message
from routerd.testing.context import RecordingLogger
from routerd_bgp_ryu.testing.nodes import ASN, FAST, PORT, Node, Nodes, established, host, put, until

pytestmark = pytest.mark.live

A, B = "10.88.1.1/32", "10.88.2.1/32"
RIGHT, WRONG = IPv4Address("10.99.0.11"), IPv4Address("10.99.0.12")
HELD = Session(
    peer_asn=ASN,
    peer_router_id=RIGHT,
    owner="BGPDynamicPeer/leaves",
    passive=True,
    route_reflector_client=True,
    next_hop_self=True,
    timers=FAST,
    leaf="one",
    claim="SAMEnrollmentClaim/one",
)
Script = Callable[..., ScriptedSpeaker]


@pytest.fixture
async def script() -> AsyncIterator[Script]:
    """Make speakers that say what they are told; they end with the test."""
    made: list[ScriptedSpeaker] = []

    def make(address: IPv4Address, asn: int = ASN, router_id: IPv4Address = RIGHT, **more: bytes) -> object:
        made.append(ScriptedSpeaker(address, asn, router_id, host(A), **more))
        return made[-1]

    yield make  # type: ignore[misc]  # it is one
    for speaker in made:
        await speaker.aclose()


async def reflector(nodes: Nodes, address: IPv4Address | None = None, **more: object) -> Node:
    """Start a route reflector that expects one leaf, beside itself unless at `address`."""
    rr = nodes()
    await rr.start()
    leaf = address or rr.address + 100
    await put(rr.routing.import_policies, leaf, ImportPolicy(hosts=frozenset({host(A)})))
    await put(rr.routing.sessions, leaf, attrs.evolve(HELD, **more))  # type: ignore[arg-type]  # passed on
    return rr


async def until_state(node: Node, holds: Callable[[SessionState], object], what: str) -> SessionState:
    """Return the state of the node's one session once something holds of it."""
    try:
        async with asyncio.timeout(20):
            while True:
                (state,) = await node.routing.states()
                if holds(state):
                    return state
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"not within 20 s: {what}, but {state}")


def refusals(node: Node) -> list[str]:
    """Return what the daemon has logged of refused speakers."""
    log = node.context.log
    assert isinstance(log, RecordingLogger)
    return [str(dict(entry.facts)["reason"]) for entry in log.entries if entry.event == "session.refused"]


BAD_ASN = f"sent bad peer AS (2/2): expected AS {ASN} of leaf one (SAMEnrollmentClaim/one), came AS 64999"
BAD_ROUTER_ID = (
    f"sent bad BGP identifier (2/3): expected router ID {RIGHT} of leaf one (SAMEnrollmentClaim/one), "
    f"came {WRONG}"
)


@pytest.mark.parametrize(
    ("dialing", "asn", "router_id", "code", "said"),
    [
        ("leaf", 64999, RIGHT, (2, 2), BAD_ASN),
        ("leaf", 64999, WRONG, (2, 2), BAD_ASN),
        ("leaf", ASN, WRONG, (2, 3), BAD_ROUTER_ID),
        ("leaf", 4_200_000_001, RIGHT, (2, 2), BAD_ASN.replace("64999", "4200000001")),
        ("us", 64999, RIGHT, (2, 2), BAD_ASN),
        ("us", ASN, WRONG, (2, 3), BAD_ROUTER_ID),
    ],
    ids=["asn", "both", "router ID", "wide asn", "asn, dialed", "router ID, dialed"],
)
async def test_a_wrong_speaker_is_refused_and_the_right_one_is_not(
    nodes: Nodes,
    script: Script,
    dialing: str,
    asn: int,
    router_id: IPv4Address,
    code: tuple[int, int],
    said: str,
) -> None:
    rr = await reflector(nodes, passive=dialing == "leaf")

    async def meet(speaker: ScriptedSpeaker) -> None:
        if dialing == "leaf":
            speaker.dial(rr.address, PORT)
        else:
            await speaker.answer(PORT)

    wrong = script(rr.address + 100, asn, router_id)
    await meet(wrong)
    # Our first dial may come before the speaker listens.
    state = await until_state(
        rr, lambda state: state.last_error and "cannot connect" not in state.last_error, "refused"
    )
    assert state.last_error == said
    assert (state.remote_asn, state.remote_router_id) == (asn, router_id)
    await until(lambda: len(wrong.heard) > 1, "refused at each attempt")
    assert set(wrong.heard) == {code}
    assert wrong.confirmed == 0
    assert rr.last.routes == ()
    assert rr.last.rejected == ()
    assert (await until_state(rr, lambda _: True, "")).last_error == said
    await until(lambda: refusals(rr), "logged")
    tries = len(wrong.heard)
    await until(lambda: len(wrong.heard) > tries, "tried again")
    async with aclosing(rr.routing.learned()) as looks:  # type: ignore[type-var]  # a generator
        assert (await anext(looks)).routes == ()
    assert refusals(rr) == [said], "said once, however often it is tried"
    await wrong.aclose()
    await meet(script(rr.address + 100))
    state = await until_state(rr, lambda state: state.established, "the right one is let in")
    assert (state.remote_asn, state.remote_router_id, state.last_error) == (ASN, RIGHT, "")
    await until(lambda: rr.learned() == {A: {str(rr.address + 100)}}, "and its route")


async def test_the_daemons_of_a_leaf_and_a_reflector_follow_a_change_of_the_claim(nodes: Nodes) -> None:
    rr, leaf, other = nodes(), nodes(), nodes()
    await asyncio.gather(rr.start(), leaf.start(router_id=RIGHT), other.start())
    await rr.serve(leaf, A)
    await rr.serve(other, B)
    await put(rr.routing.sessions, leaf.address, HELD)
    for node in (leaf, other):
        await node.join(rr)
    await leaf.announce(A)
    await other.announce(B)
    await established((rr, leaf), (rr, other))
    await until(lambda: A in other.learned(), "announced")
    before = await rr.state(other)
    await put(rr.routing.sessions, leaf.address, attrs.evolve(HELD, peer_router_id=WRONG), HELD)
    said = f"expected router ID {WRONG} of leaf one (SAMEnrollmentClaim/one), came {RIGHT}"
    state = await rr.state(leaf)
    assert not state.established
    assert said in state.last_error
    await until(lambda: other.learned() == {}, "its routes are gone")
    await _until_error(leaf, rr, "received bad BGP identifier (2/3)")
    # The leaf follows its claim: its speaker starts again with the new router ID.
    speaker = (await leaf.routing.speakers.observe())["test"]
    await put(leaf.routing.speakers, "test", attrs.evolve(speaker, router_id=WRONG), speaker)
    await leaf.join(rr)
    await leaf.announce(A)
    await established((rr, leaf))
    await until(lambda: A in other.learned(), "back")
    assert await rr.state(other) == attrs.evolve(before, received=1, accepted=1, advertised=1)


async def _until_error(node: Node, neighbour: Node, text: str) -> None:
    async with asyncio.timeout(20):
        while text not in (await node.state(neighbour)).last_error:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)


async def test_a_session_that_agrees_is_not_reset_by_what_is_expected(nodes: Nodes, script: Script) -> None:
    rr = await reflector(nodes, peer_router_id=None, claim="", leaf="")
    leaf = rr.address + 100
    script(leaf).dial(rr.address, PORT)
    since = (await until_state(rr, lambda state: state.established, "anybody of the AS")).since
    for expected in (HELD, attrs.evolve(HELD, claim="SAMEnrollmentClaim/b"), attrs.evolve(HELD, leaf="b")):
        await put(rr.routing.sessions, leaf, expected)
        assert (await rr.routing.sessions.observe())[leaf] == expected
    state = await until_state(rr, lambda _: True, "")
    assert (state.since, state.established, state.last_error) == (since, True, "")


async def test_a_change_of_what_is_expected_forgets_who_was_refused(nodes: Nodes, script: Script) -> None:
    rr = await reflector(nodes)
    leaf = rr.address + 100
    wrong = script(leaf, ASN, WRONG)
    wrong.dial(rr.address, PORT)
    await until_state(rr, lambda state: state.last_error == BAD_ROUTER_ID, "refused")
    await wrong.aclose()
    await put(rr.routing.sessions, leaf, attrs.evolve(HELD, peer_router_id=WRONG))
    assert (await until_state(rr, lambda _: True, "")).last_error == ""
    script(leaf, ASN, WRONG).dial(rr.address, PORT)
    await until_state(rr, lambda state: state.established and not state.last_error, "now it agrees")
    await until(lambda: A in rr.learned(), "and its route enters")


@pytest.mark.parametrize("own", [True, False])
async def test_a_router_id_that_cannot_be_a_neighbours_is_refused(
    nodes: Nodes, script: Script, *, own: bool
) -> None:
    rr = await reflector(nodes, peer_router_id=None)
    speaker = script(rr.address + 100, ASN, rr.address if own else IPv4Address(0))
    speaker.dial(rr.address, PORT)
    await until(lambda: (2, 3) in speaker.heard, "refused")
    state = await until_state(rr, lambda state: state.last_error, "said")
    assert ("our own" if own else "0.0.0.0") in state.last_error


async def test_an_address_that_is_no_neighbour_is_refused_and_the_leaf_that_it_names_is_told(
    nodes: Nodes, script: Script
) -> None:
    rr = await reflector(nodes)
    leaf, elsewhere = rr.address + 100, rr.address + 101
    stranger = script(elsewhere)
    stranger.dial(rr.address, PORT)
    state = await until_state(rr, lambda state: state.last_error, "said")
    assert state.last_error == (
        f"sent connection rejected (6/5): expected router ID {RIGHT} of leaf one (SAMEnrollmentClaim/one) "
        f"from {leaf}, came from {elsewhere}"
    )
    await until(lambda: len(stranger.heard) > 2, "refused at each attempt")
    assert set(stranger.heard) == {(6, 5)}
    assert stranger.confirmed == 0
    await until(lambda: refusals(rr) == [state.last_error], "logged")
    script(leaf).dial(rr.address, PORT)
    await until_state(rr, lambda state: state.established, "the leaf itself is let in")
    tries = len(stranger.heard)
    await until(lambda: len(stranger.heard) > tries + 1, "the stranger goes on trying")
    state = await until_state(rr, lambda _: True, "")
    assert (state.established, state.last_error) == (True, "")


async def test_a_second_connection_of_a_neighbour_speaks_for_nobody(nodes: Nodes, script: Script) -> None:
    """Opened before the session is up, and used after it: the library lets it, and forgets routes."""
    rr = await reflector(nodes)
    leaf = rr.address + 100
    forged = update_message(host(B), leaf)
    await put(rr.routing.import_policies, leaf, ImportPolicy(hosts=frozenset({host(A), host(B)})))
    pairs = [
        await asyncio.open_connection(str(rr.address), PORT, local_addr=(str(leaf), 0)) for _ in range(3)
    ]
    for reader, _ in pairs:
        async with asyncio.timeout(10):
            await reader.readuntil(b"\xff" * 16)  # our OPEN: the connection is with the library
    script(leaf).dial(rr.address, PORT)
    since = (await until_state(rr, lambda state: state.established, "the session itself")).since
    await until(lambda: set(rr.learned()) == {A}, "its route")
    said = {forged: b"\x03\x05\x00", KEEPALIVE: b"\x03\x05\x00"}
    said[open_message(ASN, RIGHT) + KEEPALIVE + forged] = b"\x03\x06\x07"
    for (reader, writer), (message, refused) in zip(pairs, said.items(), strict=True):
        writer.write(message)
        async with asyncio.timeout(10):
            assert (await reader.read()).endswith(b"\x00\x15" + refused)
        writer.close()
    state = await until_state(rr, lambda _: True, "")
    assert (state.established, state.since, state.received) == (True, since, 1)
    assert set(rr.learned()) == {A}
