"""The provider: devices, each with its program, and their peers."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from routerd.errors import PermanentError, ProviderError, TransientError
from routerd.model.change import Change
from routerd.model.names import LinkName, PublicKey
from routerd.model.tunnel import (
    Endpoint,
    Opening,
    PeerKey,
    PeerState,
    Tunnel,
    TunnelState,
    WireGuardDevice,
    WireGuardPeer,
)
from routerd.spi import Link, PluginContext, apply_each
from routerd_shroud import keys

OVERHEAD = 20 + 8 + 8 + 12 + 16
"""Bytes: IPv4, UDP, the sender, the counter, the seal."""

_DEADLINE = 10.0
_ALIVE_SECONDS = 180


class Boxes:
    """The programs of our devices, found by their sockets."""

    def __init__(self, context: PluginContext, mode: str) -> None:
        self.context = context
        self.mode = mode

    async def links(self) -> dict[LinkName, tuple[Link, dict[str, Any]]]:
        """Return our devices with what their programs tell."""
        found = {}
        for name, link in (await self.context.kernel.links()).items():
            if link.owner is not None and link.kind == "tun" and (told := await self.ask(name)):
                found[name] = (link, told)
        return found

    async def ask(self, link: str, **asked: object) -> dict[str, Any]:
        """Ask a program; nothing when there is none."""
        try:
            async with asyncio.timeout(_DEADLINE):
                reader, writer = await asyncio.open_unix_connection(self._socket(link))
                writer.write(json.dumps(asked).encode() + b"\n")
                line = await reader.readline()
                writer.close()
        except (FileNotFoundError, ConnectionError):
            return {}
        except TimeoutError as error:
            raise TransientError(f"shroud {link}: its program does not answer; will retry") from error
        found: dict[str, Any] = json.loads(line)
        return found

    async def start(self, tunnel: Tunnel) -> None:
        """Start the program of a device."""
        device = tunnel.wireguard
        if device is None or device.private_key_file is None or device.listen_port is None:
            raise PermanentError(f"shroud {tunnel.link}: it needs privateKeyFile and listenPort")
        words = [
            tunnel.link,
            str(self._socket(tunnel.link)),
            str(device.private_key_file),
            str(device.listen_port),
        ]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "routerd_shroud.box", *words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        async with asyncio.timeout(_DEADLINE):
            if status := await process.wait():
                raise TransientError(f"shroud {tunnel.link}: its program ended with status {status}")

    def _socket(self, link: str) -> Path:
        return self.context.run_dir / f"{self.mode}.{link}.sock"


class TunnelTable:
    """Implements `spi.Table[LinkName, Tunnel]`."""

    def __init__(self, boxes: Boxes) -> None:
        self._boxes = boxes
        self._kernel = boxes.context.kernel

    async def observe(self) -> Mapping[LinkName, Tunnel]:
        """Return our devices as they are."""
        mode = self._boxes.mode
        return {name: _tunnel(mode, link, told) for name, (link, told) in (await self._boxes.links()).items()}

    async def apply(self, changes: Sequence[Change[LinkName, Tunnel]]) -> Mapping[LinkName, ProviderError]:
        """Delete first, then make or set."""
        in_order = sorted(changes, key=lambda change: change.after is not None)
        return await apply_each(in_order, self._make)

    async def _make(self, change: Change[LinkName, Tunnel]) -> None:
        self._boxes.context.refuse_dry_run()
        wanted = change.after
        found = (await self._boxes.links()).get(change.key)
        if found is not None and (wanted is None or found[1]["port"] != _port(wanted)):
            await self._kernel.delete_link(change.key)
            found = None
        if wanted is None:
            return
        present = (await self._kernel.links()).get(change.key)
        if found is None and present is not None:
            raise present.foreign()
        if found is None:
            await self._boxes.start(wanted)
            made = (await self._kernel.links())[change.key]
            await self._kernel.mark_link(change.key, index=made.index, owner=wanted.owner)
        await self._kernel.set_link(
            wanted.link, owner=wanted.owner, mtu=wanted.mtu, addresses=wanted.addresses
        )


class PeerTable:
    """Implements `spi.Table[PeerKey, WireGuardPeer]`."""

    def __init__(self, boxes: Boxes) -> None:
        self._boxes = boxes

    async def observe(self) -> Mapping[PeerKey, WireGuardPeer]:
        """Return the peers of every device of ours."""
        now = self._boxes.context.clock.now().timestamp()
        return {
            key: WireGuardPeer(
                allowed_ips=frozenset(map(IPv4Network, each["allowed"])),
                endpoint=_endpoint(each),
                keepalive=each["keepalive"],
                alive=now - each["heard"] < _ALIVE_SECONDS,
            )
            for key, each in (await self.told()).items()
        }

    async def told(self) -> dict[PeerKey, dict[str, Any]]:
        """Return the peers as the programs tell them."""
        return {
            PeerKey(link=name, public_key=PublicKey(each["key"])): each
            for name, (_, told) in (await self._boxes.links()).items()
            for each in told["peers"]
        }

    async def apply(
        self, changes: Sequence[Change[PeerKey, WireGuardPeer]]
    ) -> Mapping[PeerKey, ProviderError]:
        """Set or remove each peer."""
        return await apply_each(changes, self._make)

    async def _make(self, change: Change[PeerKey, WireGuardPeer]) -> None:
        self._boxes.context.refuse_dry_run()
        key, wanted = change.key, change.after
        if wanted is None:
            await self._boxes.ask(key.link, remove=[key.public_key])
            return
        end = wanted.endpoint
        peer = {
            "key": key.public_key,
            "allowed": sorted(map(str, wanted.allowed_ips)),
            "endpoint": (str(end.address), end.port) if end is not None else None,
            "keepalive": wanted.keepalive,
        }
        if not await self._boxes.ask(key.link, set=[peer]):
            raise TransientError(f"shroud {key.link}: it has no program yet; will retry")


class ShroudTransport:
    """Implements `spi.EncryptingTransport`."""

    def __init__(self, context: PluginContext, mode: str) -> None:
        self._context = context
        self._boxes = Boxes(context, mode)
        self.tunnels = TunnelTable(self._boxes)
        self.peers = PeerTable(self._boxes)

    async def start(self) -> None:
        """Do nothing: the programs are found by their sockets."""

    async def aclose(self) -> None:
        """Leave the programs alone; they carry packets."""

    def overhead(self, tunnel: Tunnel) -> int:
        """Return what a packet grows by."""
        del tunnel
        return OVERHEAD

    def openings(self, tunnel: Tunnel) -> Sequence[Opening]:
        """Return the device's port."""
        port = _port(tunnel)
        return [Opening(protocol="udp", port=port)] if port is not None else []

    async def states(self) -> Sequence[TunnelState]:
        """Return the state of each device."""
        return [
            TunnelState(
                link=name, backend="shroud-box", up=link.up, rx_bytes=link.rx_bytes, tx_bytes=link.tx_bytes
            )
            for name, (link, _) in (await self._boxes.links()).items()
        ]

    async def peer_states(self) -> Sequence[PeerState]:
        """Return the state of each peer."""
        return [
            PeerState(
                key=key,
                endpoint=_endpoint(each),
                last_handshake=each["heard"],
                rx_bytes=each["rx"],
                tx_bytes=each["tx"],
            )
            for key, each in (await self.peers.told()).items()
        ]

    async def public_key(self, private_key_file: Path) -> PublicKey:
        """Return the public key of a file; make a missing one first."""
        key = await asyncio.to_thread(keys.ensure, private_key_file, read_only=self._context.read_only)
        return keys.public(key)


def _port(tunnel: Tunnel) -> int | None:
    return tunnel.wireguard.listen_port if tunnel.wireguard is not None else None


def _endpoint(told: dict[str, Any]) -> Endpoint | None:
    end = told["endpoint"]
    return Endpoint(address=IPv4Address(end[0]), port=end[1]) if end else None


def _tunnel(mode: str, link: Link, told: dict[str, Any]) -> Tunnel:
    return Tunnel(
        link=link.name,
        mode=mode,
        owner=link.owner_if_up,
        mtu=link.mtu,
        addresses=link.addresses,
        ttl=0,
        wireguard=WireGuardDevice(public_key=PublicKey(told["public"]), listen_port=told["port"]),
    )
