"""The rules that the core relies on in a transport."""

from __future__ import annotations

import asyncio
import base64
import operator
import stat
from collections.abc import Mapping
from ipaddress import IPv6Address, IPv6Interface
from typing import ClassVar, cast, get_args

import attrs
import pytest

from routerd.errors import TransientError
from routerd.model.specs.mobility import NO_ENCRYPTION
from routerd.model.tunnel import Tunnel, UdpEncapsulation, WireGuardDevice
from routerd.plugins.tunnel_modes import TunnelMode
from routerd.spi import (
    Capability,
    EncryptingTransport,
    NoOptions,
    PluginContext,
    Provider,
    Takes,
    Transport,
    TransportMode,
)
from routerd.testing.contracts.provider import ProviderTablesContract, running
from routerd.testing.contracts.samples import TableRules
from routerd.testing.contracts.table import (
    DEADLINE,
    AnySamples,
    DeletionRules,
    ForeignRules,
    RefusalRules,
    ReplacementRules,
    assert_holds,
    assert_ipv6_costs_no_other,
    fill,
)

_TUNNELS = TableRules(attribute="tunnels")
_PEERS = TableRules(attribute="peers", foreign=False)


class TransportContract(ProviderTablesContract, ReplacementRules, DeletionRules, RefusalRules, ForeignRules):
    """The suite of a transport without peers. `samples` has the table `tunnels`.

    Added in 1.0.
    """

    tables: ClassVar[tuple[TableRules, ...]] = (_TUNNELS,)

    def test_the_mode_is_described(self, provider: TransportMode) -> None:
        """A file can name the mode, and the options of its tunnels are frozen values."""
        assert isinstance(provider, TransportMode), "routerd_transports returns TransportMode"
        assert provider.kind not in NO_ENCRYPTION, "the kind is routerd's own word"
        assert provider.key in get_args(Takes)
        assert provider.encapsulation in get_args(Takes)
        assert attrs.has(provider.tunnel), "the options of its tunnels are not an attrs class"
        frozen = provider.tunnel.__setattr__ is not object.__setattr__
        assert frozen, "the options of its tunnels are not frozen"

    def test_sample_tunnels_are_of_the_providers_mode(
        self, provider: TransportMode, samples: Mapping[str, AnySamples]
    ) -> None:
        """The mode of a tunnel is the kind of its provider, its key is its device, its fields fit."""
        for link, tunnel in samples["tunnels"].values.items():
            assert tunnel.mode == provider.kind
            assert tunnel.link == link
            for takes, given in (
                (provider.key, tunnel.key),
                (provider.encapsulation, tunnel.encapsulation),
            ):
                assert takes != "never" or given is None, "a sample has a field that the mode does not take"
                assert takes != "required" or given is not None, "a sample lacks a field of the mode"
            if provider.tunnel is NoOptions:
                assert tunnel.options is None, "a sample has options, and the mode declares none"
            else:
                assert isinstance(tunnel.options, provider.tunnel), "options of a sample are of another class"

    @pytest.mark.asyncio
    async def test_the_overhead_is_that_of_a_packet(
        self,
        started: Transport,
        samples: Mapping[str, AnySamples],
    ) -> None:
        """The overhead is at least an IPv4 header, and leaves room for the smallest MTU of IPv6."""
        for tunnel in samples["tunnels"].values.values():
            size: object = started.overhead(tunnel)
            assert isinstance(size, int)
            assert not isinstance(size, bool)
            assert 20 <= size <= 1500 - 1280

    @pytest.mark.asyncio
    async def test_the_answers_about_a_tunnel_are_pure(
        self,
        provider: TransportMode,
        started: Transport,
        context: PluginContext,
        options: object,
        samples: Mapping[str, AnySamples],
    ) -> None:
        """`overhead` and `openings` depend on the tunnel alone, not on its MTU, and not on `start`."""
        fresh = provider.make(context, options)
        try:
            for tunnel in samples["tunnels"].values.values():
                bare = attrs.evolve(tunnel, mtu=0)
                for one, other in ((started, started), (started, fresh)):
                    assert one.overhead(tunnel) == other.overhead(bare), "the overhead is not pure"
                    assert list(one.openings(tunnel)) == list(other.openings(bare)), "openings are not pure"
        finally:
            async with asyncio.timeout(DEADLINE):
                await fresh.aclose()

    @pytest.mark.asyncio
    async def test_the_openings_are_narrow(
        self,
        provider: TransportMode,
        started: Transport,
        samples: Mapping[str, AnySamples],
    ) -> None:
        """The far end can send, by UDP or TCP to a port or by an IP protocol, and by nothing else."""
        mode = TunnelMode(plugin="under test", described=provider, transport=started)
        for tunnel in samples["tunnels"].values.values():
            found = mode.openings(tunnel)
            assert found, "nothing that the far end sends is let in"
            assert len(set(found)) == len(found), "an opening is there twice"

    @pytest.mark.asyncio
    async def test_the_openings_follow_the_port(
        self,
        provider: TransportMode,
        started: Transport,
        samples: Mapping[str, AnySamples],
    ) -> None:
        """The opened port is the one that the file chooses: `encapSport`, or a device's `listenPort`."""
        for tunnel in samples["tunnels"].values.values():
            for port in (4999, 5001):
                if provider.encapsulation != "never":
                    changed = attrs.evolve(tunnel, encapsulation=UdpEncapsulation(sport=port, dport=7))
                elif Capability.ENCRYPTS in provider.capabilities:
                    changed = attrs.evolve(tunnel, wireguard=_listening(tunnel, port))
                else:
                    continue
                assert [each.port for each in started.openings(changed)] == [port]
            if Capability.ENCRYPTS in provider.capabilities:
                anywhere = attrs.evolve(tunnel, wireguard=_listening(tunnel, None))
                assert not started.openings(anywhere), "a device without a port of its own has an opening"

    @pytest.mark.asyncio
    async def test_options_are_those_of_the_device(
        self,
        provider: TransportMode,
        started: Transport,
        samples: Mapping[str, AnySamples],
    ) -> None:
        """`observe` reports the options of each tunnel, and a change of them is a difference."""
        table = samples["tunnels"]
        await table.prepare(started)
        observed = await fill(started.tunnels, table.values)
        assert_holds(started.tunnels, table.values, observed)
        if provider.tunnel is NoOptions:
            return
        changed = {
            link: tunnel
            for link, tunnel in table.replacement.items()
            if tunnel.options != table.values[link].options
        }
        assert changed, "the samples need a replacement that changes an option"
        observed = await fill(started.tunnels, {**table.values, **changed})
        assert_holds(started.tunnels, changed, observed)
        agrees = getattr(started.tunnels, "agrees", operator.eq)
        for link in changed:
            assert not agrees(table.values[link], observed[link]), "the old options count as the new ones"

    @pytest.mark.asyncio
    async def test_an_ipv6_tunnel_costs_no_other(
        self, started: Transport, samples: Mapping[str, AnySamples]
    ) -> None:
        """A tunnel with IPv6 addresses is made, or is an `UnsupportedError` of its key; the other is made."""
        table = samples["tunnels"]
        await table.prepare(started)
        (link, tunnel), (other, ipv6), *_ = table.values.items()
        for name, value in (("local", "2001:db8::1"), ("remote", "2001:db8::2")):
            if getattr(ipv6, name) is not None:
                ipv6 = attrs.evolve(ipv6, **{name: IPv6Address(value)})
        ipv6 = attrs.evolve(ipv6, addresses=(IPv6Interface("2001:db8:1::/127"),))
        await assert_ipv6_costs_no_other(started.tunnels, {link: tunnel}, {other: ipv6})

    @pytest.mark.asyncio
    async def test_the_states_name_every_tunnel_and_its_backend(
        self,
        started: Transport,
        samples: Mapping[str, AnySamples],
    ) -> None:
        """`states` has exactly one state for each observed tunnel."""
        await samples["tunnels"].prepare(started)
        observed = await fill(started.tunnels, samples["tunnels"].values)
        async with asyncio.timeout(DEADLINE):
            states = await started.states()
        assert sorted(state.link for state in states) == sorted(observed)
        assert all(state.backend for state in states)


def _listening(tunnel: Tunnel, port: int | None) -> WireGuardDevice:
    assert tunnel.wireguard is not None, "a sample of an encrypting transport has no `wireguard`"
    return attrs.evolve(tunnel.wireguard, listen_port=port)


class EncryptingTransportContract(TransportContract):
    """The suite of a transport with peers. `samples` has the tables `tunnels` and `peers`.

    Added in 1.0.
    """

    tables: ClassVar[tuple[TableRules, ...]] = (_TUNNELS, _PEERS)
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.ENCRYPTS})

    @pytest.mark.asyncio
    async def test_peer_states_name_every_peer(
        self,
        started: EncryptingTransport,
        samples: Mapping[str, AnySamples],
    ) -> None:
        """`peer_states` has exactly one state for each observed peer."""
        await samples["peers"].prepare(started)
        observed = await fill(started.peers, samples["peers"].values)
        async with asyncio.timeout(DEADLINE):
            states = await started.peer_states()
        assert sorted(state.key for state in states) == sorted(observed)

    @pytest.mark.asyncio
    async def test_a_missing_key_is_made_once_and_kept_private(
        self, started: EncryptingTransport, context: PluginContext
    ) -> None:
        """The file has mode 0600 and stays unchanged; the public key is always the same 32 bytes."""
        path = context.state_dir / "keys" / "private.key"
        async with asyncio.timeout(DEADLINE):
            first = await started.public_key(path)
            text = path.read_bytes()
            second = await started.public_key(path)
        assert first == second
        assert path.read_bytes() == text
        assert len(base64.b64decode(first, validate=True)) == 32
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    @pytest.mark.asyncio
    async def test_a_dry_run_makes_no_key(
        self, provider: TransportMode, context: PluginContext, options: object
    ) -> None:
        """In a dry run a missing file is a `TransientError` and stays missing."""
        path = context.state_dir / "keys" / "private.key"
        dry = attrs.evolve(context, read_only=True)
        async with (
            running(cast("Provider[EncryptingTransport]", provider), dry, options) as made,
            asyncio.timeout(DEADLINE),
        ):
            with pytest.raises(TransientError):
                await made.public_key(path)
        assert not path.exists()
