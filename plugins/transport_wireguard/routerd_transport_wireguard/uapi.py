"""Devices of wireguard-go, by its Unix socket: the cross-platform interface of WireGuard.

Lines of `key=value`, an empty line at the end, keys in hexadecimal; the answer ends with `errno=`. See
wireguard.com/xplatform.
"""

import asyncio
import base64
import contextlib
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import attrs

from routerd.errors import TransientError
from routerd.model.names import LinkName, PublicKey
from routerd.model.tunnel import Endpoint
from routerd_transport_wireguard.device import DeviceDump, PeerDump, PeerSetting, refusal
from routerd_transport_wireguard.keys import public_key_of

SOCKETS = Path("/var/run/wireguard")
DEADLINE = 5.0
MAX_ANSWER = 64 * 1024 * 1024
"""Maximum bytes of a device's description; a peer takes some 400, and asyncio's default is 64 KiB."""
_NONE = "0" * 64


class UserspacePort:
    """Implements `DevicePort` with a connection for each request."""

    def __init__(self, sockets: Path = SOCKETS) -> None:
        self._sockets = sockets

    def socket(self, link: LinkName) -> Path:
        """Return the socket of a device's program."""
        return self._sockets / f"{link}.sock"

    async def read(self, link: LinkName) -> DeviceDump | None:
        """Return the device, or none without a program on its socket."""
        try:
            lines = await self._talk(link, ["get=1"])
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        try:
            return _parse(lines)
        except ValueError:
            raise TransientError(f"wireguard {link}: its program does not answer like WireGuard") from None

    async def answers(self, link: LinkName) -> bool:
        """Say whether a program listens; remove the socket of an ended one."""
        try:
            async with asyncio.timeout(DEADLINE):
                _, writer = await asyncio.open_unix_connection(str(self.socket(link)))
        except ConnectionRefusedError:
            with contextlib.suppress(OSError):
                self.socket(link).unlink()
            return False
        except FileNotFoundError:
            return False
        except (OSError, TimeoutError) as error:
            raise TransientError(f"wireguard {link}: its program does not answer: {error!r}") from error
        writer.close()
        return True

    async def configure(self, link: LinkName, *, private_key: bytes | None, listen_port: int | None) -> None:
        """Set the private key and the port."""
        lines = ["set=1"]
        if private_key is not None:
            lines.append(f"private_key={private_key.hex()}")
        if listen_port is not None:
            lines.append(f"listen_port={listen_port}")
        await self._set(link, lines)

    async def set_peer(self, link: LinkName, peer: PeerSetting) -> None:
        """Create, change or remove one peer."""
        lines = ["set=1", f"public_key={_hex(peer.public_key)}"]
        if peer.remove:
            lines.append("remove=true")
        else:
            if peer.preshared_key is not None:
                lines.append(f"preshared_key={peer.preshared_key.hex()}")
            if peer.endpoint is not None:
                lines.append(f"endpoint={peer.endpoint}")
            lines.append(f"persistent_keepalive_interval={peer.keepalive}")
            lines.append("replace_allowed_ips=true")
            lines += [f"allowed_ip={network}" for network in sorted(peer.allowed_ips)]
        await self._set(link, lines)

    async def _set(self, link: LinkName, lines: list[str]) -> None:
        try:
            await self._talk(link, lines)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise TransientError(f"wireguard {link}: its program is not running") from error

    async def _talk(self, link: LinkName, lines: Iterable[str]) -> list[str]:
        """Send a request and return the lines of the answer, without `errno=0`."""
        try:
            async with asyncio.timeout(DEADLINE):
                reader, writer = await asyncio.open_unix_connection(str(self.socket(link)), limit=MAX_ANSWER)
                try:
                    writer.write(("\n".join(lines) + "\n\n").encode())
                    await writer.drain()
                    answer = (await reader.readuntil(b"\n\n")).decode(errors="replace")
                finally:
                    writer.close()
        except (FileNotFoundError, ConnectionRefusedError):
            raise
        except TimeoutError as error:
            raise TransientError(f"wireguard {link}: its program did not answer in {DEADLINE:g} s") from error
        except (OSError, EOFError, asyncio.LimitOverrunError) as error:
            # Without the cause: a part of an answer may hold the private key.
            raise TransientError(f"wireguard {link}: its program stopped answering: {error!r}") from None
        *content, last = answer.split() or [""]
        name, _, code = last.partition("=")
        if name != "errno" or not code.lstrip("-").isdecimal():
            raise TransientError(
                f"wireguard {link}: the program that listens on {self.socket(link)} is not WireGuard"
            )
        if int(code):
            raise refusal(link, abs(int(code)))
        return content


@attrs.define
class _Peer:
    allowed: set[IPv4Network] = attrs.field(factory=set)
    facts: dict[str, str] = attrs.field(factory=dict, repr=False)

    def dump(self) -> PeerDump:
        return PeerDump(
            allowed_ips=frozenset(self.allowed),
            endpoint=_endpoint(self.facts.get("endpoint", "")),
            keepalive=int(self.facts.get("persistent_keepalive_interval", 0)),
            last_handshake=int(self.facts.get("last_handshake_time_sec", 0)),
            rx_bytes=int(self.facts.get("rx_bytes", 0)),
            tx_bytes=int(self.facts.get("tx_bytes", 0)),
            preshared_key=bytes.fromhex(self.facts.get("preshared_key", _NONE)),
        )


def _parse(lines: Iterable[str]) -> DeviceDump:
    device: dict[str, str] = {}
    peers: dict[PublicKey, _Peer] = {}
    current: _Peer | None = None
    for line in lines:
        key, _, value = line.partition("=")
        if key == "public_key":
            current = peers.setdefault(PublicKey(base64.b64encode(bytes.fromhex(value)).decode()), _Peer())
        elif current is None:
            device[key] = value
        elif key == "allowed_ip":
            if ":" not in value:
                current.allowed.add(IPv4Network(value))
        else:
            current.facts[key] = value
    private = device.get("private_key", _NONE)
    return DeviceDump(
        public_key=public_key_of(bytes.fromhex(private)) if private != _NONE else None,
        listen_port=int(device.get("listen_port", 0)),
        peers={key: peer.dump() for key, peer in peers.items()},
    )


def _endpoint(text: str) -> Endpoint | None:
    host, _, port = text.rpartition(":")
    return Endpoint(address=IPv4Address(host), port=int(port)) if host and not host.startswith("[") else None


def _hex(key: PublicKey) -> str:
    return base64.b64decode(key).hex()
