"""Rules of two hosts with any backends. Not a test itself."""

from __future__ import annotations

import base64
from ipaddress import IPv4Interface

import attrs
import pytest
from plugins.transport_wireguard.tests.wireguard_samples import of, peer, to
from plugins.transport_wireguard.tests.wireguard_world import Host, by_hand, daemon, join, to_reach, want
from tests.support.waiting import until_async

from routerd_transport_wireguard.config import WireGuardOptions


class TrafficRules:
    """Subclass it with `backends` of both hosts, `names` of them, and the fixture `pair`."""

    backends: tuple[WireGuardOptions, WireGuardOptions]
    names: tuple[str, str]

    @pytest.fixture
    def pair(self) -> tuple[Host, Host]:
        raise NotImplementedError

    async def test_packets_pass_and_the_states_show_it(self, pair: tuple[Host, Host]) -> None:
        a, b = pair
        await join(a, b, self.backends)
        for here, other, options, name in zip((a, b), (b, a), self.backends, self.names, strict=True):
            async with daemon(here, options) as made:
                (state,), (device,) = await made.peer_states(), await made.states()
            assert str(state.endpoint) == f"{other.address}:51820"
            assert state.last_handshake > 1_700_000_000
            assert min(state.rx_bytes, state.tx_bytes, device.rx_bytes, device.tx_bytes) > 80
            assert (device.link, device.backend, device.up) == (here.link, name, True)
            assert bool(device.note) == (name != "kernel")
        # The largest packet of the device passes whole.
        a.sh(f"ping -q -c 1 -W 2 -M do -s {1420 - 28} {b.inner}")

    async def test_later_daemons_adopt_without_a_lost_packet(self, pair: tuple[Host, Host]) -> None:
        a, b = pair
        await join(a, b, self.backends)
        with a.pinging(b):
            for _ in range(5):
                for here, other, options in zip((a, b), (b, a), self.backends, strict=True):
                    async with daemon(here, options) as made:
                        assert await want(made, here.tunnel(), to_reach(here, other)) == 0

    async def test_changes_are_made_in_place_without_a_lost_packet(self, pair: tuple[Host, Host]) -> None:
        a, b = pair
        await join(a, b, self.backends)
        index, wanted = a.index(), to_reach(a, b)
        (key,) = wanted
        other = {of(1, a.link): peer("10.99.0.1/32", "10.99.0.2/32"), of(2, a.link): peer("10.99.0.3/32")}
        moved = {of(1, a.link): peer("10.99.0.3/32", "10.99.0.2/32"), of(2, a.link): peer("10.99.0.1/32")}
        addresses = (IPv4Interface(f"{a.inner}/24"), IPv4Interface("10.77.0.1/32"))
        device = attrs.evolve(a.tunnel(), mtu=1300, owner="WireGuardInterface/renamed", addresses=addresses)
        changed = attrs.evolve(
            wanted[key], keepalive=7, allowed_ips=wanted[key].allowed_ips | peer("10.88.0.0/24").allowed_ips
        )
        async with daemon(a, self.backends[0]) as made:
            (before,) = await made.peer_states()
            with a.pinging(b):
                for peers in (wanted | other, wanted | moved, {key: changed} | moved, {key: changed}):
                    await want(made, device, peers)
                    assert await made.peers.observe() == peers
                    assert await made.tunnels.observe() == {a.link: device}
            (after,) = await made.peer_states()
        assert a.index() == index
        assert after.last_handshake == before.last_handshake
        assert after.rx_bytes > before.rx_bytes

    async def test_another_key_and_port_are_set_in_place(self, pair: tuple[Host, Host]) -> None:
        a, b = pair
        await join(a, b, self.backends)
        index = a.index()
        changed = {"key": "another", "port": 51999}
        async with daemon(a, self.backends[0]) as made:
            await want(made, a.tunnel(**changed), to_reach(a, b))
            assert await made.tunnels.observe() == {a.link: a.tunnel(**changed)}
            assert len(await made.peer_states()) == 1
        assert a.index() == index
        async with daemon(b, self.backends[1]) as made:
            ((_, reach),) = to_reach(b, a).items()
            key = attrs.evolve(of(1, b.link), public_key=a.key(**changed))
            await want(made, b.tunnel(), {key: attrs.evolve(reach, endpoint=None)})
        await until_async(lambda: a.pings(b), "a ping passes with the new key")

    async def test_the_other_end_may_be_made_by_hand(self, pair: tuple[Host, Host]) -> None:
        a, b = pair
        secret = a.directory / "psk"
        secret.write_bytes(base64.b64encode(bytes(range(32))) + b"\n")
        by_hand(b, a, more=f"preshared-key {secret}")
        (key,) = wanted = to_reach(a, b, preshared_key_file=secret)
        async with daemon(a, self.backends[0]) as made:
            await want(made, a.tunnel(), wanted)
            await until_async(lambda: a.pings(b), "a ping passes")
            assert b.pings(a)
            assert "preshared key: (hidden)" in a.sh(f"wg show {a.link}")
            # Without it the next handshake must fail, so the key is really gone.
            bare = attrs.evolve(wanted[key], preshared_key_file=None)
            assert await made.peers.apply([to(key, bare, wanted[key])]) == {}
            assert "preshared key" not in a.sh(f"wg show {a.link}")
