"""A route reflector and leaves, each with its own speaker, on loopback."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from datetime import timedelta
from ipaddress import IPv4Network

import attrs
import pytest

from routerd.errors import TransientError
from routerd.model.session import ImportPolicy
from routerd.spi import PluginContext
from routerd.testing.context import as_read_only
from routerd_bgp_ryu.config import BgpOptions
from routerd_bgp_ryu.routing import BgpRouting
from routerd_bgp_ryu.testing.nodes import FAST, OWNER, PORT, Node, Nodes, alive, established, host, put, until

pytestmark = pytest.mark.live

A, B, C = "10.88.1.1/32", "10.88.2.1/32", "10.88.3.1/32"


async def fabric(nodes: Nodes, *claims: str) -> tuple[Node, list[Node]]:
    """Return a route reflector and a leaf per claim, each announcing its claim."""
    rr, leaves = nodes(), [nodes() for _ in claims]
    await asyncio.gather(rr.start(), *(leaf.start() for leaf in leaves))
    for leaf, claim in zip(leaves, claims, strict=True):
        await rr.serve(leaf, claim)
        await leaf.join(rr)
        await leaf.announce(claim)
    await established(*((leaf, rr) for leaf in leaves), *((rr, leaf) for leaf in leaves))
    return rr, leaves


async def test_what_leaves_announce_is_reflected_with_the_reflector_as_next_hop(nodes: Nodes) -> None:
    rr, (one, two, three) = await fabric(nodes, A, B, C)
    via = {str(rr.address)}
    await until(lambda: one.learned() == {B: via, C: via}, "routes of leaf 1")
    await until(lambda: two.learned() == {A: via, C: via}, "routes of leaf 2")
    await until(lambda: three.learned() == {A: via, B: via}, "routes of leaf 3")
    await until(
        lambda: rr.learned() == {A: {str(one.address)}, B: {str(two.address)}, C: {str(three.address)}}, "rr"
    )
    state = await rr.state(one)
    assert (state.received, state.accepted, state.rejected, state.advertised) == (1, 1, (), 2)
    assert (state.remote_asn, state.remote_router_id) == (64577, one.address)
    await until(lambda: rr.last.complete and one.last.complete, "complete")


async def test_what_is_not_claimed_is_rejected_with_a_reason_and_never_reflected(nodes: Nodes) -> None:
    rr, (bad, good) = await fabric(nodes, A, B)
    await bad.announce(B, "10.88.0.0/16", "0.0.0.0/0", "10.88.7.7/32")
    await until(
        lambda: (
            rr.rejected()
            == {
                B: "prefix-not-owned-by-claim",
                "10.88.7.7/32": "prefix-not-owned-by-claim",
                "10.88.0.0/16": "not-exact-host-prefix",
                "0.0.0.0/0": "not-exact-host-prefix",
            }
        ),
        "rejections",
    )
    state = await rr.state(bad)
    assert state.rejected == (("not-exact-host-prefix", 2), ("prefix-not-owned-by-claim", 2))
    assert (state.received, state.accepted) == (5, 1)
    # A later, accepted route shows that the earlier ones would have arrived by now.
    await good.announce(B)
    await put(rr.routing.import_policies, bad.address, ImportPolicy(hosts=frozenset({host(A), host(C)})))
    await bad.announce(C)
    await until(lambda: set(good.learned()) == {A, C}, "only what was admitted")
    assert {str(route.prefix) for route in good.last.routes} == {A, C}
    assert not any(route.neighbour == bad.address and str(route.prefix) == B for route in rr.last.routes)


async def test_a_withdrawal_reaches_the_others(nodes: Nodes) -> None:
    _, (one, two) = await fabric(nodes, A, B)
    await until(lambda: A in two.learned(), "announced")
    await one.withdraw(A)
    await until(lambda: two.learned() == {}, "withdrawn")


async def test_a_policy_change_is_applied_to_what_was_sent_without_a_reset(nodes: Nodes) -> None:
    rr, (one, two) = await fabric(nodes, A, B)
    await one.announce(C)
    await until(lambda: C in rr.rejected(), "rejected")
    since = (await one.state(rr)).since
    wide, narrow = (ImportPolicy(hosts=frozenset(map(host, each))) for each in ((A, C), (A,)))
    await put(rr.routing.import_policies, one.address, wide)
    await until(lambda: set(two.learned()) == {A, C}, "admitted later")
    await put(rr.routing.import_policies, one.address, narrow, wide)
    await until(lambda: set(two.learned()) == {A}, "refused again")
    await put(rr.routing.import_policies, one.address, None, narrow)
    await until(lambda: two.learned() == {}, "without a policy nothing enters")
    assert (await one.state(rr)).since == since


async def test_a_removed_session_takes_its_routes_with_it(nodes: Nodes) -> None:
    rr, (one, two) = await fabric(nodes, A, B)
    await until(lambda: A in two.learned(), "announced")
    session = (await rr.routing.sessions.observe())[one.address]
    await put(rr.routing.sessions, one.address, None, session)
    await until(lambda: two.learned() == {}, "the other leaf forgets it")
    await until(lambda: one.learned() == {}, "the removed leaf learns nothing")
    await until_error(one, rr, "received")
    await rr.serve(one, A)
    await established((one, rr))
    await until(lambda: A in two.learned(), "back after admission")


async def until_error(node: Node, neighbour: Node, text: str) -> None:
    async with asyncio.timeout(10):
        while text not in (await node.state(neighbour)).last_error:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)


async def test_a_stranger_is_refused(nodes: Nodes) -> None:
    rr, stranger = nodes(), nodes()
    await rr.start()
    await stranger.start()
    await stranger.join(rr)
    await stranger.announce(A)
    await until_error(stranger, rr, "received connection rejected (6/5)")
    assert rr.learned() == {}
    assert rr.last.rejected == ()


async def test_a_wrong_number_is_said_in_words(nodes: Nodes) -> None:
    rr, leaf = nodes(), nodes()
    await rr.start()
    await leaf.start()
    await rr.serve(leaf, A)
    await leaf.join(rr)
    session = (await leaf.routing.sessions.observe())[rr.address]
    await put(leaf.routing.sessions, rr.address, attrs.evolve(session, peer_asn=64999), session)
    await until_error(leaf, rr, "sent bad peer AS (2/2)")


async def test_a_leaf_passes_nothing_between_two_reflectors_and_uses_both(nodes: Nodes) -> None:
    one, two, left, right = nodes(), nodes(), nodes(), nodes()
    for node in (one, two, left, right):
        await node.start()
    for leaf, claim in ((left, A), (right, B)):
        for rr in (one, two):
            await rr.serve(leaf, claim)
            await leaf.join(rr)
        await leaf.announce(claim)
    both = {str(one.address), str(two.address)}
    await until(lambda: left.learned() == {B: both} and right.learned() == {A: both}, "two equal paths")
    assert (await one.state(left)).received == 1
    assert (await two.state(left)).received == 1
    assert (await left.state(one)).advertised == 1


async def test_preference_and_communities_arrive(nodes: Nodes) -> None:
    _, (one, two) = await fabric(nodes, A, B)
    await one.withdraw(A)
    await one.announce(A, local_preference=200, communities=frozenset({"64512:100", "64512:101"}))
    await until(
        lambda: (
            [
                (route.local_preference, route.communities, route.originator is not None)
                for route in two.last.routes
            ]
            == [(200, frozenset({"64512:100", "64512:101"}), True)]
        ),
        "attributes at the other leaf",
    )


async def test_a_killed_speaker_is_noticed_and_replayed_and_nothing_may_be_deleted_meanwhile(
    nodes: Nodes,
) -> None:
    rr, (one, two) = await fabric(nodes, A, B)
    await until(lambda: one.last.complete and one.learned(), "complete")
    tables = (
        one.routing.speakers,
        one.routing.import_policies,
        one.routing.sessions,
        one.routing.advertisements,
    )
    wanted = [await table.observe() for table in tables]
    os.kill(await one.pid(), signal.SIGKILL)
    await until(lambda: not one.last.complete, "noticed", 2)
    assert one.context.wake.count > 0  # type: ignore[attr-defined]  # a WakeCounter
    assert [await table.observe() for table in tables] == [{}] * 4
    sets: list[bool] = []
    for table, values in zip(tables, wanted, strict=True):
        for key, value in values.items():
            await put(table, key, value)
    sets.append(one.last.complete)
    await until(lambda: one.last.complete, "complete again")
    assert sets == [False]
    assert one.learned() == {B: {str(rr.address)}}, "complete only when the routes are back"
    await until(lambda: A in two.learned(), "announced again")


async def test_a_new_daemon_adopts_the_speaker_without_a_reset(nodes: Nodes) -> None:
    rr, (leaf,) = await fabric(nodes, A)
    await until(lambda: rr.last.complete, "complete")
    since, pid = (await leaf.state(rr)).since, await rr.pid()
    await rr.leave()
    again = nodes(rr)
    await again.routing.start()
    again.task = asyncio.create_task(again._follow())
    await until(lambda: again.sets, "the first set")
    assert again.last.complete, "an adopted speaker knows everything at once"
    assert again.learned() == {A: {str(leaf.address)}}
    speaker = (await again.routing.speakers.observe())["test"]
    await put(again.routing.speakers, "test", speaker)
    await again.serve(leaf, A)
    assert await again.pid() == pid
    assert (await leaf.state(rr)).since == since


async def test_a_lone_speaker_ends_with_a_cease(nodes: Nodes) -> None:
    rr, leaf = nodes(child_grace=timedelta(seconds=1)), nodes()
    await rr.start()
    await leaf.start()
    await rr.serve(leaf, A)
    await leaf.join(rr)
    await established((leaf, rr))
    pid = await rr.pid()
    await rr.leave()
    # Looked for first: the leaf dials again soon, and that it is refused is then its last error.
    await until_error(leaf, rr, "received administrative shutdown (6/2)")
    await until(lambda: not alive(pid), "ended")
    assert not (rr.context.run_dir / "speaker.sock").exists()


async def test_a_lost_neighbour_takes_its_routes_with_it_after_the_hold_time(nodes: Nodes) -> None:
    rr, (one, two) = await fabric(nodes, A, B)
    await until(lambda: B in one.learned(), "announced")
    pid = await two.pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        await until(lambda: one.learned() == {}, "hold time", FAST.hold * 3)
        assert (await rr.state(two)).last_error == "sent hold timer expired (4/0)"
    finally:
        os.kill(pid, signal.SIGCONT)
    await until(lambda: B in one.learned(), "back")


async def test_garbage_on_the_control_socket_harms_nobody(nodes: Nodes) -> None:
    rr = nodes()
    await rr.start()
    path = rr.context.run_dir / "speaker.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    for garbage in (b"\xff\x00\n", b"[1]\n", b"{}\n", b"[" * 100_000 + b"\n", b'{"id":1,"op":"apply"}\n'):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(garbage)
        async with asyncio.timeout(5):
            assert b'"error"' in await reader.readline()
        writer.close()
        await writer.wait_closed()
    assert await rr.routing.speakers.observe()


async def test_garbage_from_one_neighbour_ends_its_session_only(nodes: Nodes) -> None:
    rr, (good,) = await fabric(nodes, A)
    evil = nodes()
    await rr.serve(evil, B)
    pid, since = await rr.pid(), (await rr.state(good)).since
    marker = b"\xff" * 16
    opened = marker + bytes([0, 29, 1, 4, 0xFC, 0x41, 0, 90]) + evil.address.packed + b"\0"
    messages = (
        b"GET / HTTP/1.1\r\n\r\n" + b"\0" * 40,
        marker + b"\x00\x13\x09",
        opened + marker + b"\x00\x13\x04" + marker + b"\x00\x1b\x02\x00\x00\x00\x04\x40\x01\x01\x07",
        opened + marker + b"\x00\x13\x04" + marker + b"\x00\x17\x02\xff\xff\xff\xff",
        opened + marker + b"\x00\x13\x04" + marker + b"\x00\x1e\x02\x00\x00\x00\x00\xff" + b"\xff" * 6,
    )
    for message in messages:
        await asyncio.to_thread(_speak, evil, rr, message)
    # Reset before it is accepted: the library's own accept loop would have ended here.
    for _ in range(20):
        with socket.socket() as scan:
            scan.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            scan.connect((str(rr.address), PORT))
    assert await rr.pid() == pid
    assert (await rr.state(good)).since == since
    await evil.start()
    await evil.join(rr)
    await evil.announce(B)
    await until(lambda: B in good.learned(), "a well-behaved neighbour is welcome afterwards")


def _speak(source: Node, target: Node, message: bytes) -> None:
    """Send bytes as a neighbour would and wait until the other end hangs up."""
    with socket.create_connection((str(target.address), PORT), 5, (str(source.address), 0)) as connection:
        connection.settimeout(15)
        connection.sendall(message)
        try:
            while connection.recv(4096):
                pass
        except ConnectionResetError:
            return


async def test_a_port_in_use_is_told(nodes: Nodes) -> None:
    rr = nodes()
    with socket.socket() as taken:
        taken.bind((str(rr.address), PORT))
        taken.listen()
        with pytest.raises(AssertionError, match=f"cannot listen on {rr.address}:{PORT}"):
            await rr.start()


async def test_a_dry_run_starts_no_speaker(nodes: Nodes) -> None:
    node = nodes()
    context: PluginContext = as_read_only(node.context)
    routing = BgpRouting(context, BgpOptions())
    await routing.start()
    assert await routing.sessions.observe() == {}
    assert await routing.states() == ()
    with pytest.raises(TransientError):
        await routing._link.start()
    assert list(context.run_dir.iterdir()) == []
    await routing.aclose()


async def test_the_port_follows_the_speaker_and_labels_do_not_reset(nodes: Nodes) -> None:
    rr, (leaf,) = await fabric(nodes, A)
    since = (await leaf.state(rr)).since
    session = (await rr.routing.sessions.observe())[leaf.address]
    renamed = attrs.evolve(session, owner="SAMEnrollmentClaim/x", leaf="x")
    await put(rr.routing.sessions, leaf.address, renamed, session)
    assert (await rr.routing.sessions.observe())[leaf.address] == renamed
    assert (await leaf.state(rr)).since == since
    assert renamed.owner != OWNER


async def test_an_endless_neighbour_is_cut_off(nodes: Nodes) -> None:
    rr, leaf = nodes(), nodes()
    await rr.start()
    await leaf.start()
    policy = ImportPolicy(hosts=frozenset({host(A)}), max_prefixes=1)
    await rr.serve(leaf, A)
    await put(rr.routing.import_policies, leaf.address, policy)
    await leaf.join(rr)
    await asyncio.gather(
        *(
            leaf.announce(str(prefix))
            for prefix in list(IPv4Network("10.90.0.0/21").subnets(new_prefix=32))[:1100]
        )
    )
    await until_error(rr, leaf, "sent maximum number of prefixes reached (6/1)")
