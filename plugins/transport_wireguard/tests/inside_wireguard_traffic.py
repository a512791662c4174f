"""Packets through wireguard-go. Not collected: `test_wireguard_userspace.py` runs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import attrs
import pytest
from plugins.transport_wireguard.tests.wireguard_traffic import TrafficRules
from plugins.transport_wireguard.tests.wireguard_world import (
    USERSPACE,
    Host,
    daemon,
    hosts,
    join,
    sh,
    to_reach,
    want,
)
from tests.support.waiting import until_async

from routerd.testing.clock import FakeClock
from routerd_transport_wireguard.config import WireGuardOptions
from routerd_transport_wireguard.transport import WireGuardTransport


class TestUserspace(TrafficRules):
    backends: ClassVar[tuple[WireGuardOptions, WireGuardOptions]] = (USERSPACE, USERSPACE)
    names: ClassVar[tuple[str, str]] = ("wireguard-go", "wireguard-go")

    @pytest.fixture
    def pair(self, tmp_path: Path) -> Iterator[tuple[Host, Host]]:
        with hosts(tmp_path) as (a, b):
            yield a, b


del TrafficRules


def _nat(host: Host, address: str) -> None:
    """Let everything that a host sends to WireGuard come from another address and port."""
    host.sh(
        f"ip addr add {address}/24 dev u 2>/dev/null; nft flush ruleset; nft -f - <<END\n"
        "table ip nat { chain out { type nat hook postrouting priority 100;"
        f" oif u udp sport 51820-51829 snat to {address}:61000-61999; }}; }}\nEND"
    )


async def test_a_peer_behind_nat_is_followed_and_never_reset(tmp_path: Path) -> None:
    with hosts(tmp_path) as (reflector, leaf):
        _nat(leaf, "192.0.2.100")
        incoming = to_reach(reflector, leaf, endpoint=None)
        (key,) = incoming
        async with daemon(reflector) as made:
            await want(made, reflector.tunnel(), incoming)
        async with daemon(leaf) as made:
            await want(made, leaf.tunnel(), to_reach(leaf, reflector, keepalive=25))
        await until_async(lambda: leaf.pings(reflector), "the leaf's ping passes")
        seen = []
        # The leaf is given another address and another mapping by its provider.
        for port, address in ((51820, "192.0.2.100"), (51821, "192.0.2.101"), (51822, "192.0.2.102")):
            _nat(leaf, address)
            async with daemon(leaf) as made:
                await want(made, leaf.tunnel(port=port), to_reach(leaf, reflector, keepalive=25))
            await until_async(lambda: leaf.pings(reflector), "a ping passes from the new place")
            async with daemon(reflector) as made:
                assert await want(made, reflector.tunnel(), incoming) == 0
                # Nor does a change of the peer send it back.
                await want(made, reflector.tunnel(), {key: attrs.evolve(incoming[key], keepalive=port % 9)})
                await want(made, reflector.tunnel(), incoming)
                ((_, peer),) = (await made.peers.observe()).items()
            assert peer.alive
            assert peer.endpoint is not None
            assert str(peer.endpoint.address) == address
            assert 61000 <= peer.endpoint.port < 62000
            assert reflector.pings(leaf)
            seen.append(peer.endpoint)
        assert len(set(seen)) == 3


async def test_a_silent_peer_gets_its_configured_endpoint_again(tmp_path: Path) -> None:
    with hosts(tmp_path) as (a, b):
        await join(a, b)
        _nat(b, "192.0.2.100")
        async with daemon(b) as made:
            await want(made, b.tunnel(port=51821), to_reach(b, a))
        await until_async(lambda: b.pings(a), "a ping passes from the new place")
        clock = FakeClock(start=a.context().clock.now())
        with a.here():
            made = WireGuardTransport(attrs.evolve(a.context(), clock=clock), USERSPACE)
            assert await want(made, a.tunnel(), to_reach(a, b)) == 0
            await clock.advance(400)
            assert await want(made, a.tunnel(), to_reach(a, b)) == 1
            assert await want(made, a.tunnel(), to_reach(a, b)) == 0
            ((_, peer),) = (await made.peers.observe()).items()
        assert str(peer.endpoint) == f"{b.address}:51820"


async def test_three_hosts_have_peers_of_their_own(tmp_path: Path) -> None:
    with hosts(tmp_path, 3) as (reflector, *leaves):
        wanted = {}
        for leaf in leaves:
            async with daemon(leaf) as made:
                await want(made, leaf.tunnel(), to_reach(leaf, reflector))
            wanted |= to_reach(reflector, leaf, endpoint=None)
            async with daemon(reflector) as made:
                await want(made, reflector.tunnel(), wanted)
            for each in leaves[: leaves.index(leaf) + 1]:
                await until_async(
                    lambda each=each: each.pings(reflector), f"{each.name} reaches the reflector"
                )
        with leaves[1].pinging(reflector):
            async with daemon(reflector) as made:
                await want(made, reflector.tunnel(), to_reach(reflector, leaves[1], endpoint=None))
                assert len(await made.peer_states()) == 1
        assert not leaves[0].pings(reflector)
        assert sh("ls /var/run/wireguard").split() == ["wg-a.sock", "wg-b.sock", "wg-c.sock"]
