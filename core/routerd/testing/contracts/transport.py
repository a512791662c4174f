"""The rules that the core relies on in a transport."""

from __future__ import annotations

import asyncio
import base64
import stat
from collections.abc import Mapping
from typing import ClassVar, cast

import attrs
import pytest

from routerd.errors import TransientError
from routerd.spi import Capability, EncryptingTransport, PluginContext, Provider, Transport, TransportMode
from routerd.testing.contracts.provider import ProviderTablesContract, running
from routerd.testing.contracts.samples import TableRules
from routerd.testing.contracts.table import (
    DEADLINE,
    AnySamples,
    DeletionRules,
    ForeignRules,
    RefusalRules,
    ReplacementRules,
    fill,
)

_TUNNELS = TableRules(attribute="tunnels")
_PEERS = TableRules(attribute="peers", foreign=False)


class TransportContract(ProviderTablesContract, ReplacementRules, DeletionRules, RefusalRules, ForeignRules):
    """The suite of a transport without peers. `samples` has the table `tunnels`.

    Added in 1.0.
    """

    tables: ClassVar[tuple[TableRules, ...]] = (_TUNNELS,)

    def test_sample_tunnels_are_of_the_providers_mode(
        self, provider: TransportMode, samples: Mapping[str, AnySamples]
    ) -> None:
        """The mode of a tunnel is the kind of its provider, and its key is its device."""
        for link, tunnel in samples["tunnels"].values.items():
            assert tunnel.mode == provider.kind
            assert tunnel.link == link

    @pytest.mark.asyncio
    async def test_the_overhead_is_that_of_a_packet(
        self,
        started: Transport,
        samples: Mapping[str, AnySamples],
    ) -> None:
        """The overhead is at least an IPv4 header, and leaves room for the smallest MTU of IPv6."""
        for tunnel in samples["tunnels"].values.values():
            assert 20 <= started.overhead(tunnel) <= 1500 - 1280

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
