"""The table of devices."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import attrs

from routerd.errors import NotOwnedError, PermanentError, ProviderError
from routerd.model.change import Change
from routerd.model.names import LinkName
from routerd.model.tunnel import Tunnel, WireGuardDevice
from routerd.spi import Link, PluginContext
from routerd_transport_wireguard.backend import Backend, Backends
from routerd_transport_wireguard.device import DeviceDump
from routerd_transport_wireguard.keys import ensure_private_key, public_key_of


class TunnelTable:
    """Implements `spi.AgreeingTable[LinkName, Tunnel]`."""

    def __init__(self, context: PluginContext, backends: Backends) -> None:
        self._kernel = context.kernel
        self._backends = backends
        self.known: set[LinkName] = set()
        """The devices that stood when they were last looked at or made."""

    async def observe(self) -> Mapping[LinkName, Tunnel]:
        """Return our devices, each as itself reports."""
        found: dict[LinkName, Tunnel] = {}
        for name, (link, dump) in (await self._ours()).items():
            device = None
            if dump.public_key is not None:
                device = WireGuardDevice(public_key=dump.public_key, listen_port=dump.listen_port)
            found[name] = Tunnel(
                link=name,
                mode="wireguard",
                owner=link.owner or "",
                mtu=link.mtu,
                addresses=link.addresses,
                ttl=0,
                wireguard=device,
            )
        self.known = set(found)
        return found

    def agrees(self, desired: Tunnel, observed: Tunnel) -> bool:
        """Say whether a device is as desired; without a wish for a port any port will do."""
        if (
            desired.wireguard is None
            or observed.wireguard is None
            or desired.wireguard.listen_port is not None
        ):
            return desired == observed
        device = attrs.evolve(observed.wireguard, listen_port=None)
        return desired == attrs.evolve(observed, wireguard=device)

    async def apply(self, changes: Sequence[Change[LinkName, Tunnel]]) -> Mapping[LinkName, ProviderError]:
        """Make, set and delete devices; a change never takes a device down."""
        failures: dict[LinkName, ProviderError] = {}
        for change in changes:
            try:
                if change.after is None:
                    self.known.discard(change.key)
                    await self._kernel.delete_link(change.key)
                else:
                    await self._make(change.after)
                    self.known.add(change.key)
            except ProviderError as error:
                failures[change.key] = error
        return failures

    async def _ours(self) -> dict[LinkName, tuple[Link, DeviceDump]]:
        found: dict[LinkName, tuple[Link, DeviceDump]] = {}
        for link in (await self._kernel.links()).values():
            backend = self._backends.of(link)
            if link.owner is None or backend is None:
                continue
            dump = await backend.port.read(link.name)
            if dump is not None:
                found[link.name] = (link, dump)
        return found

    async def _make(self, tunnel: Tunnel) -> None:
        wanted = tunnel.wireguard
        if wanted is None or wanted.private_key_file is None:
            raise PermanentError(f"wireguard {tunnel.link}: no private key file is given")
        private = await asyncio.to_thread(ensure_private_key, wanted.private_key_file)
        if public_key_of(private) != wanted.public_key:
            raise PermanentError(
                f"wireguard {tunnel.link}: the key in {wanted.private_key_file} does not belong to "
                f"{wanted.public_key}; was the file replaced?"
            )
        present = (await self._kernel.links()).get(tunnel.link)
        backend = await self._standing(tunnel, present)
        if backend is None:
            backend = await self._backends.for_new()
            await backend.create(tunnel)
        dump = await backend.port.read(tunnel.link)
        known = dump.public_key if dump is not None else None
        port = dump.listen_port if dump is not None else None
        new_port = wanted.listen_port if wanted.listen_port != port else None
        if known != wanted.public_key or new_port is not None:
            key = private if known != wanted.public_key else None
            await backend.port.configure(tunnel.link, private_key=key, listen_port=new_port)
        await self._kernel.set_link(
            tunnel.link, owner=tunnel.owner, mtu=tunnel.mtu, addresses=tunnel.addresses
        )

    async def _standing(self, tunnel: Tunnel, present: Link | None) -> Backend | None:
        """Return the backend of a device that stands already, none when it is to be made."""
        if present is None:
            return None
        backend = self._backends.of(present)
        alive = backend is not None and await backend.port.read(present.name) is not None
        if present.owner is not None:
            if alive:
                return backend
            # Ours, of another kind or without its process: it is made again.
            await self._kernel.delete_link(present.name)
            return None
        if alive and not present.alias and not present.addresses and backend is not None:
            dump = await backend.port.read(present.name)
            if dump is not None and dump.public_key is None and not dump.peers:
                # A device without key, peers, addresses and alias: what a crash of ours leaves.
                return backend
        alias = f"its alias is {present.alias!r}" if present.alias else "it has no alias"
        raise NotOwnedError(f"link {tunnel.link} exists and is not ours ({alias}); rename or delete it")
