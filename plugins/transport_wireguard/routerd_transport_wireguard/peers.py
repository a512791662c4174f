"""The table of peers on our devices."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping, Sequence
from pathlib import Path

from routerd.errors import PermanentError, ProviderError, TransientError
from routerd.model.change import Change
from routerd.model.names import LinkName
from routerd.model.tunnel import PeerKey, WireGuardPeer
from routerd.spi import Clock
from routerd_transport_wireguard.backend import Backends
from routerd_transport_wireguard.device import REJECT_AFTER, DevicePort, PeerDump, PeerSetting
from routerd_transport_wireguard.keys import read_key


class PeerTable:
    """Implements `spi.AgreeingTable[PeerKey, WireGuardPeer]`.

    A peer that works keeps the endpoint from which it was heard last, whatever the configuration
    says: it may have moved. One that is silent for longer than a session lives gets the configured
    endpoint back.
    """

    def __init__(self, backends: Backends, clock: Clock) -> None:
        self._backends = backends
        self._clock = clock

    async def observe(self) -> Mapping[PeerKey, WireGuardPeer]:
        """Return the peers of every device of ours."""
        return {key: self._peer(dump) for key, dump in (await self.dumps()).items()}

    async def dumps(self) -> dict[PeerKey, PeerDump]:
        """Return what the devices report of their peers."""
        found: dict[PeerKey, PeerDump] = {}
        for link, port in (await self._backends.ports()).items():
            device = await port.read(link)
            for public_key, dump in (device.peers if device is not None else {}).items():
                found[PeerKey(link=link, public_key=public_key)] = dump
        return found

    def agrees(self, desired: WireGuardPeer, observed: WireGuardPeer) -> bool:
        """Say whether a peer is as desired, its endpoint only where it is heard from no other."""
        if desired != observed:
            return False
        return desired.endpoint is None or observed.alive or desired.endpoint == observed.endpoint

    async def apply(
        self, changes: Sequence[Change[PeerKey, WireGuardPeer]]
    ) -> Mapping[PeerKey, ProviderError]:
        """Remove, then set; an address that moves between two peers is never with neither for long."""
        failures: dict[PeerKey, ProviderError] = {}
        if not changes:
            return failures
        ports = await self._backends.ports()
        for change in sorted(changes, key=lambda each: each.after is not None):
            try:
                await self._make(change, ports)
            except ProviderError as error:
                failures[change.key] = error
        return failures

    async def _make(
        self, change: Change[PeerKey, WireGuardPeer], ports: Mapping[LinkName, DevicePort]
    ) -> None:
        key = change.key
        _check(key)
        port = ports.get(key.link)
        if port is None:
            if change.after is None:
                return
            raise TransientError(
                f"wireguard peer {key.public_key}: there is no device {key.link} of ours yet"
            )
        device = await port.read(key.link)
        dump = device.peers.get(key.public_key) if device is not None else None
        present = self._peer(dump) if dump is not None else None
        if change.after is None:
            if present is not None:
                await port.set_peer(key.link, PeerSetting(public_key=key.public_key, remove=True))
            return
        wanted = change.after
        if present is not None and wanted.preshared_key_file is None and self.agrees(wanted, present):
            return
        secret = wanted.preshared_key_file
        keeps_endpoint = present is not None and present.alive and present.endpoint is not None
        await port.set_peer(
            key.link,
            PeerSetting(
                public_key=key.public_key,
                allowed_ips=wanted.allowed_ips,
                endpoint=None if keeps_endpoint else wanted.endpoint,
                keepalive=wanted.keepalive,
                preshared_key=await asyncio.to_thread(_read_secret, secret) if secret is not None else None,
            ),
        )

    def _peer(self, dump: PeerDump) -> WireGuardPeer:
        age = self._clock.now().timestamp() - dump.last_handshake
        return WireGuardPeer(
            allowed_ips=dump.allowed_ips,
            endpoint=dump.endpoint,
            keepalive=dump.keepalive,
            alive=bool(dump.last_handshake) and age < REJECT_AFTER,
        )


def _read_secret(path: Path) -> bytes:
    try:
        return read_key(path)
    except OSError as error:
        raise PermanentError(f"preshared key {path}: {(error.strerror or str(error)).lower()}") from error


def _check(key: PeerKey) -> None:
    try:
        size = len(base64.b64decode(key.public_key, validate=True))
    except (binascii.Error, ValueError):
        size = 0
    if size != 32:
        raise PermanentError(
            f"wireguard peer {key.public_key} on {key.link}: a public key is 32 bytes in base64"
        )
