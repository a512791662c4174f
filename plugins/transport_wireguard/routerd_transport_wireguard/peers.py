"""The table of peers on our devices."""

import asyncio
import base64
import binascii
from collections.abc import Mapping, Sequence

from routerd.errors import PermanentError, ProviderError, TransientError
from routerd.model.addresses import ipv4
from routerd.model.change import Change
from routerd.model.tunnel import PeerKey, WireGuardPeer
from routerd.spi import PluginContext
from routerd_transport_wireguard.backend import Backends, Device
from routerd_transport_wireguard.device import NO_PRESHARED_KEY, REJECT_AFTER, PeerDump, PeerSetting
from routerd_transport_wireguard.keys import load_key


class PeerTable:
    """Implements `spi.AgreeingTable[PeerKey, WireGuardPeer]`.

    A working peer may have moved, so it keeps the endpoint of its last packet, whatever the
    configuration says. A peer that is silent for longer than a session gets the configured endpoint
    again.
    """

    def __init__(self, context: PluginContext, backends: Backends) -> None:
        self._context = context
        self._backends = backends

    async def observe(self) -> Mapping[PeerKey, WireGuardPeer]:
        """Return the peers of every device of ours."""
        return {key: self._peer(dump) for key, dump in (await self.dumps()).items()}

    async def dumps(self) -> dict[PeerKey, PeerDump]:
        """Return the peers as their devices report them."""
        return {
            PeerKey(link=link, public_key=public_key): dump
            for link, device in (await self._backends.devices()).items()
            for public_key, dump in device.dump.peers.items()
        }

    def agrees(self, desired: WireGuardPeer, observed: WireGuardPeer) -> bool:
        """Say whether a peer is as desired; the endpoint of a working peer does not count."""
        if desired != observed:
            return False
        return desired.endpoint is None or observed.alive or desired.endpoint == observed.endpoint

    async def apply(
        self, changes: Sequence[Change[PeerKey, WireGuardPeer]]
    ) -> Mapping[PeerKey, ProviderError]:
        """Remove, then set; other peers keep their sessions.

        An address may move between two peers in any order: WireGuard takes it from one peer when it
        gets it for the other.
        """
        failures: dict[PeerKey, ProviderError] = {}
        if not changes:
            return failures
        devices = await self._backends.devices()
        for change in sorted(changes, key=lambda each: each.after is not None):
            try:
                if self._context.read_only:
                    raise PermanentError(f"wireguard peer {change.key.public_key}: a dry run changes nothing")
                await self._make(change, devices.get(change.key.link))
            except ProviderError as error:
                failures[change.key] = error
        return failures

    async def _make(self, change: Change[PeerKey, WireGuardPeer], device: Device | None) -> None:
        key = change.key
        dump = device.dump.peers.get(key.public_key) if device is not None else None
        if change.after is None:
            if device is not None and dump is not None:
                await device.backend.port.set_peer(
                    key.link, PeerSetting(public_key=key.public_key, remove=True)
                )
            return
        _check(key)
        who = f"wireguard peer {key.public_key}"
        allowed = frozenset(ipv4(each, who) for each in change.after.allowed_ips)
        if change.after.endpoint is not None:
            ipv4(change.after.endpoint.address, who)
        if device is None:
            raise TransientError(f"{who}: its device {key.link} does not exist yet")
        wanted = change.after
        file = wanted.preshared_key_file
        secret = await asyncio.to_thread(load_key, file) if file is not None else NO_PRESHARED_KEY
        held = (dump.preshared_key if dump is not None else None) or NO_PRESHARED_KEY
        present = self._peer(dump) if dump is not None else None
        if present is not None and secret == held and self.agrees(wanted, present):
            return
        keeps_endpoint = present is not None and present.alive and present.endpoint is not None
        await device.backend.port.set_peer(
            key.link,
            PeerSetting(
                public_key=key.public_key,
                allowed_ips=allowed,
                endpoint=None if keeps_endpoint else wanted.endpoint,
                keepalive=wanted.keepalive,
                preshared_key=secret if secret != held else None,
            ),
        )

    def _peer(self, dump: PeerDump) -> WireGuardPeer:
        age = self._context.clock.now().timestamp() - dump.last_handshake
        return WireGuardPeer(
            allowed_ips=dump.allowed_ips,
            endpoint=dump.endpoint,
            keepalive=dump.keepalive,
            alive=bool(dump.last_handshake) and age < REJECT_AFTER,
        )


def _check(key: PeerKey) -> None:
    try:
        size = len(base64.b64decode(key.public_key, validate=True))
    except (binascii.Error, ValueError):
        size = 0
    if size != 32:
        raise PermanentError(
            f"wireguard peer {key.public_key} on {key.link}: a public key is 32 bytes in base64; "
            "print it with `wg pubkey`"
        )
