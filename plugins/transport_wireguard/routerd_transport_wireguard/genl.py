"""Devices of the kernel, by generic netlink (`WG_CMD_*` of linux/wireguard.h)."""

import asyncio
import base64
import contextlib
import errno
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import attrs
from pyroute2.netlink.exceptions import NetlinkDumpInterrupted, NetlinkError
from pyroute2.netlink.generic.wireguard import AsyncWireGuard

from routerd.errors import TransientError
from routerd.model.names import LinkName, PublicKey
from routerd.model.tunnel import Endpoint
from routerd_transport_wireguard.device import DeviceDump, PeerDump, PeerSetting, refusal

DEADLINE = 5.0


class KernelPort:
    """Implements `DevicePort` with a socket for each request."""

    async def read(self, link: LinkName) -> DeviceDump | None:
        """Return the device; joins the several messages of a large one."""
        try:
            messages = await _dump(link)
        except NetlinkError as error:
            if error.code in {errno.ENODEV, errno.EOPNOTSUPP}:
                return None
            raise refusal(link, error.code) from error
        except (OSError, TimeoutError) as error:
            raise TransientError(f"wireguard {link}: the kernel does not answer: {error}") from error
        if not messages:
            return None
        peers: dict[PublicKey, PeerDump] = {}
        for message in messages:
            for peer in message.get_attr("WGDEVICE_A_PEERS") or ():
                _join(peers, peer)
        first = messages[0]
        key = first.get_attr("WGDEVICE_A_PUBLIC_KEY")
        return DeviceDump(
            public_key=_text(key) if key else None,
            listen_port=first.get_attr("WGDEVICE_A_LISTEN_PORT") or 0,
            peers=peers,
        )

    async def configure(self, link: LinkName, *, private_key: bytes | None, listen_port: int | None) -> None:
        """Set the private key and the port."""
        key = base64.b64encode(private_key) if private_key is not None else None
        await self._set(link, private_key=key, listen_port=listen_port)

    async def set_peer(self, link: LinkName, peer: PeerSetting) -> None:
        """Create, change or remove one peer."""
        values: dict[str, object] = {"public_key": peer.public_key}
        if peer.remove:
            values["remove"] = True
        else:
            values["persistent_keepalive"] = peer.keepalive
            values["replace_allowed_ips"] = True
            values["allowed_ips"] = [str(network) for network in sorted(peer.allowed_ips)]
            if peer.endpoint is not None:
                values["endpoint_addr"] = str(peer.endpoint.address)
                values["endpoint_port"] = peer.endpoint.port
            if peer.preshared_key is not None:
                values["preshared_key"] = base64.b64encode(peer.preshared_key)
        await self._set(link, peer=values)

    async def _set(self, link: LinkName, **values: object) -> None:
        try:
            async with _open() as socket:
                await socket.set(link, **values)
        except NetlinkError as error:
            raise refusal(link, error.code) from error
        except (OSError, TimeoutError) as error:
            raise TransientError(f"wireguard {link}: the kernel does not answer: {error}") from error


@contextlib.asynccontextmanager
async def _open() -> AsyncIterator[Any]:  # Any: pyroute2 is untyped
    async with asyncio.timeout(DEADLINE), AsyncWireGuard() as socket:
        # The asynchronous socket gets the family's number only here, not on entry.
        await socket.setup_endpoint()
        yield socket


async def _dump(link: LinkName) -> list[Any]:  # Any: pyroute2 messages are untyped
    async with _open() as socket:
        while True:
            try:
                return [message async for message in await socket.info(link)]
            except NetlinkDumpInterrupted:
                # The device changed between two messages of the dump (NLM_F_DUMP_INTR).
                continue


def _join(peers: dict[PublicKey, PeerDump], peer: Any) -> None:  # noqa: ANN401 - pyroute2 messages are untyped
    key = _text(peer.get_attr("WGPEER_A_PUBLIC_KEY"))
    allowed = {
        IPv4Network(each["addr"])
        for each in peer.get_attr("WGPEER_A_ALLOWEDIPS") or ()
        if ":" not in each["addr"]
    }
    before = peers.get(key)
    if before is not None:
        # The address list of a peer continues in the next message, without its other fields.
        peers[key] = attrs.evolve(before, allowed_ips=before.allowed_ips | allowed)
        return
    endpoint = peer.get_attr("WGPEER_A_ENDPOINT")
    secret = peer.get_attr("WGPEER_A_PRESHARED_KEY")
    handshake = peer.get_attr("WGPEER_A_LAST_HANDSHAKE_TIME")
    peers[key] = PeerDump(
        allowed_ips=frozenset(allowed),
        endpoint=_endpoint(endpoint) if endpoint else None,
        keepalive=peer.get_attr("WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL") or 0,
        last_handshake=handshake["tv_sec"] if handshake else 0,
        rx_bytes=peer.get_attr("WGPEER_A_RX_BYTES") or 0,
        tx_bytes=peer.get_attr("WGPEER_A_TX_BYTES") or 0,
        preshared_key=base64.b64decode(secret) if secret else None,
    )


def _endpoint(value: Any) -> Endpoint | None:  # noqa: ANN401 - as above
    if ":" in value["addr"]:
        return None
    return Endpoint(address=IPv4Address(value["addr"]), port=value["port"])


def _text(key: bytes | str) -> PublicKey:
    return PublicKey(key.decode() if isinstance(key, bytes) else key)
