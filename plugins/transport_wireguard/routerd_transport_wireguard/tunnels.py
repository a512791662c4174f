"""The table of devices."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import attrs

from routerd.errors import PermanentError, ProviderError, TransientError
from routerd.model.change import Change
from routerd.model.names import LinkName
from routerd.model.tunnel import Tunnel, WireGuardDevice
from routerd.spi import Link, PluginContext, check_ipv4
from routerd_transport_wireguard.backend import Backends, Device
from routerd_transport_wireguard.keys import load_key, public_key_of


class TunnelTable:
    """Implements `spi.AgreeingTable[LinkName, Tunnel]`.

    `known` are the devices of the last reading and those made since, for the watch.
    """

    def __init__(self, context: PluginContext, backends: Backends) -> None:
        self._context = context
        self._kernel = context.kernel
        self._backends = backends
        self.known: set[LinkName] = set()

    async def observe(self) -> Mapping[LinkName, Tunnel]:
        """Return our devices as they report themselves."""
        devices = await self._backends.devices()
        self.known = set(devices)
        return {name: _tunnel(device) for name, device in devices.items()}

    def agrees(self, desired: Tunnel, observed: Tunnel) -> bool:
        """Say whether a device is as desired; without a desired port every port is right."""
        if (
            desired.wireguard is None
            or observed.wireguard is None
            or desired.wireguard.listen_port is not None
        ):
            return desired == observed
        device = attrs.evolve(observed.wireguard, listen_port=None)
        return desired == attrs.evolve(observed, wireguard=device)

    async def apply(self, changes: Sequence[Change[LinkName, Tunnel]]) -> Mapping[LinkName, ProviderError]:
        """Delete, then make and set devices; a change never takes a device down."""
        failures: dict[LinkName, ProviderError] = {}
        # Deletions first: a device that is renamed takes its UDP port along.
        for change in sorted(changes, key=lambda each: each.after is not None):
            try:
                if self._context.read_only:
                    raise PermanentError(f"wireguard {change.key}: a dry run changes nothing")
                if change.after is None:
                    await self._delete(change.key)
                else:
                    await self._make(change.after)
                    self.known.add(change.key)
            except ProviderError as error:
                failures[change.key] = error
        return failures

    async def _delete(self, name: LinkName) -> None:
        self.known.discard(name)
        present = (await self._kernel.links()).get(name)
        device = await self._backends.look(present) if present is not None else None
        if present is not None and present.owner is None:
            raise present.foreign()
        if device is not None:
            await self._kernel.delete_link(name)
            await device.backend.clear(name, deleted=True)
        elif present is None:
            await self._backends.clear(name)
        # A link of ours with that name that is not a device belongs to another plugin.

    async def _make(self, tunnel: Tunnel) -> None:
        check_ipv4(tunnel)
        private = await _private_key(tunnel)
        links = await self._kernel.links()
        present = links.get(tunnel.link)
        device = await self._standing(present) if present is not None else None
        if present is None:
            await self._delete_renamed(tunnel, links.values())
        if device is None:
            backend = await self._backends.for_new()
            await backend.create(tunnel)
            self._context.log.info("wireguard.created", link=tunnel.link, backend=backend.name)
            dump = await backend.port.read(tunnel.link)
        else:
            backend, dump = device.backend, device.dump
        if dump is None:
            raise TransientError(f"wireguard {tunnel.link}: the device vanished during the change")
        wanted = tunnel.wireguard
        port = wanted.listen_port if wanted is not None else None
        new_key = private if dump.public_key != public_key_of(private) else None
        new_port = port if port != dump.listen_port else None
        if present is not None and present.owner is None:
            # The remainder of a crash of ours, which `_standing` has recognised.
            await self._kernel.mark_link(tunnel.link, index=present.index, owner=tunnel.owner)
        if new_key is not None or new_port is not None:
            await backend.port.configure(tunnel.link, private_key=new_key, listen_port=new_port)
        await self._kernel.set_link(
            tunnel.link, owner=tunnel.owner, mtu=tunnel.mtu, addresses=tunnel.addresses
        )

    async def _delete_renamed(self, tunnel: Tunnel, links: Iterable[Link]) -> None:
        """Delete our device that somebody has renamed: it holds the UDP port and the program's socket."""
        for each in links:
            if each.owner == tunnel.owner and each.name != tunnel.link:
                self._context.log.warning("wireguard.renamed", link=tunnel.link, found_as=each.name)
                await self._kernel.delete_link(each.name)

    async def _standing(self, present: Link) -> Device | None:
        """Return the present device if it is ours; raise if another link is in the way."""
        device = await self._backends.look(present)
        if present.owner is not None and device is None:
            raise TransientError(
                f"link {present.name} of kind {present.kind or 'hardware'} belongs to {present.owner} "
                "and is not a WireGuard device; delete it first"
            )
        if present.owner is None and (device is None or not _is_unfinished(device)):
            raise present.foreign()
        return device


async def _private_key(tunnel: Tunnel) -> bytes:
    wanted = tunnel.wireguard
    if wanted is None or wanted.private_key_file is None:
        raise PermanentError(f"wireguard {tunnel.link}: it has no private key file; set privateKeyFile")
    private = await asyncio.to_thread(load_key, wanted.private_key_file)
    if public_key_of(private) != wanted.public_key:
        raise PermanentError(
            f"wireguard {tunnel.link}: the key in {wanted.private_key_file} does not belong to "
            f"{wanted.public_key}; after a change of the file restart routerd"
        )
    return private


def _tunnel(device: Device) -> Tunnel:
    link, dump = device.link, device.dump
    wireguard = None
    if dump.public_key is not None:
        wireguard = WireGuardDevice(public_key=dump.public_key, listen_port=dump.listen_port)
    return Tunnel(
        link=link.name,
        mode="wireguard",
        owner=link.owner_if_up,
        mtu=link.mtu,
        addresses=link.addresses,
        ttl=0,
        wireguard=wireguard,
    )


def _is_unfinished(device: Device) -> bool:
    """Say whether a device is the remainder of a crash: without key, peers, addresses, alias."""
    link, dump = device.link, device.dump
    return not link.alias and not link.addresses and dump.public_key is None and not dump.peers
