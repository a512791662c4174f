"""The program of one device: a TUN device, a UDP socket, and a socket on which the daemon asks it.

`python -m routerd_shroud.box LINK SOCKET KEY-FILE PORT`. It outlives the daemon. A datagram is the first
8 bytes of the sender's public key, a counter of 12 bytes that only grows, and the sealed packet; a sealed
packet of no bytes only shows that the sender lives.
"""

import base64
import fcntl
import json
import os
import select
import socket
import struct
import sys
import time
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from routerd_shroud import keys

_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x1001
_ID = 8
_COUNTER = 12
_MOST = 65536


class Peer:
    """One peer: its keys by direction, where it was last heard, and what it may send."""

    def __init__(self, box: "Box", wanted: dict[str, Any]) -> None:
        self.key: str = wanted["key"]
        theirs = base64.b64decode(self.key)
        shared = box.private.exchange(X25519PublicKey.from_public_bytes(theirs))
        self.id = theirs[:_ID]
        self._sends = _cipher(shared, box.public + theirs)
        self._receives = _cipher(shared, theirs + box.public)
        self._own_id = box.public[:_ID]
        self._newest = b""
        self.endpoint: tuple[str, int] | None = None
        self.heard = 0
        self.said = 0.0
        self.rx = self.tx = 0
        self.set(wanted)

    def set(self, wanted: dict[str, Any]) -> None:
        """Take over what the daemon wants; a peer that is heard keeps the address that it has."""
        self.allowed = [IPv4Network(each) for each in wanted["allowed"]]
        self.keepalive: int = wanted["keepalive"]
        if wanted["endpoint"] and not self.heard:
            self.endpoint = (wanted["endpoint"][0], wanted["endpoint"][1])

    def seal(self, packet: bytes) -> bytes:
        """Return the datagram that carries a packet."""
        counter = time.time_ns().to_bytes(_COUNTER, "big")
        self.said = time.monotonic()
        self.tx += len(packet)
        return self._own_id + counter + self._sends.encrypt(counter, packet, self._own_id)

    def open(self, datagram: bytes) -> bytes | None:
        """Return the packet of a datagram; none for one that is not of the peer, or not new."""
        counter = datagram[_ID : _ID + _COUNTER]
        if counter <= self._newest:
            return None
        try:
            packet = self._receives.decrypt(counter, datagram[_ID + _COUNTER :], self.id)
        except InvalidTag:
            return None
        self._newest = counter
        self.heard = int(time.time())
        self.rx += len(packet)
        return packet


def _cipher(shared: bytes, direction: bytes) -> ChaCha20Poly1305:
    kdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"routerd-shroud" + direction)
    return ChaCha20Poly1305(kdf.derive(shared))


class Box:
    """The device and its peers by public key."""

    def __init__(self, link: str, path: Path, key_file: Path, port: int) -> None:
        self.private = keys.read(key_file)
        self.public = self.private.public_key().public_bytes_raw()
        self._peers: dict[str, Peer] = {}
        self._tun = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        fcntl.ioctl(self._tun, _TUNSETIFF, struct.pack("16sH", link.encode(), _IFF_TUN_NO_PI))
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("0.0.0.0", port))
        self._udp.setblocking(False)
        self._port = port
        path.unlink(missing_ok=True)
        self._control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._control.bind(str(path))
        self._control.listen()

    def run(self) -> None:
        """Carry packets until the device is deleted."""
        poll = select.poll()
        for each in (self._tun, self._udp, self._control):
            poll.register(each, select.POLLIN)
        while True:
            for number, event in poll.poll(200):
                if number == self._tun:
                    if event & (select.POLLERR | select.POLLHUP):
                        return
                    self._out()
                elif number == self._udp.fileno():
                    self._in()
                else:
                    self._answer()
            for peer in self._peers.values():
                if peer.keepalive and peer.endpoint and time.monotonic() - peer.said > peer.keepalive:
                    self._send(peer, b"")

    def _out(self) -> None:
        try:
            packet = os.read(self._tun, _MOST)
        except BlockingIOError:
            return
        except OSError as error:
            raise SystemExit(0) from error  # the device is gone, and this program with it
        if len(packet) >= 20 and packet[0] >> 4 == 4:
            there = IPv4Address(packet[16:20])
            for peer in self._peers.values():
                if any(there in each for each in peer.allowed):
                    self._send(peer, packet)

    def _send(self, peer: Peer, packet: bytes) -> None:
        if peer.endpoint is not None:
            try:
                self._udp.sendto(peer.seal(packet), peer.endpoint)
            except OSError:
                return

    def _in(self) -> None:
        try:
            datagram, source = self._udp.recvfrom(_MOST)
        except OSError:
            return
        for peer in self._peers.values():
            if datagram[:_ID] != peer.id or (packet := peer.open(datagram)) is None:
                continue
            peer.endpoint = source
            if len(packet) >= 20 and any(IPv4Address(packet[12:16]) in each for each in peer.allowed):
                os.write(self._tun, packet)

    def _answer(self) -> None:
        connection, _ = self._control.accept()
        with connection:
            connection.settimeout(2)
            asked = json.loads(connection.makefile("rb").readline())
            for wanted in asked.get("set", ()):
                if wanted["key"] in self._peers:
                    self._peers[wanted["key"]].set(wanted)
                else:
                    self._peers[wanted["key"]] = Peer(self, wanted)
            for key in asked.get("remove", ()):
                self._peers.pop(key, None)
            connection.sendall(json.dumps(self._told()).encode() + b"\n")

    def _told(self) -> dict[str, Any]:
        peers = [
            {
                "key": peer.key,
                "allowed": [str(each) for each in peer.allowed],
                "endpoint": peer.endpoint,
                "keepalive": peer.keepalive,
                "heard": peer.heard,
                "rx": peer.rx,
                "tx": peer.tx,
            }
            for peer in self._peers.values()
        ]
        return {"public": base64.b64encode(self.public).decode(), "port": self._port, "peers": peers}


def main() -> None:
    """Become a program of nobody's once the device and the socket are there."""
    link, path, key_file, port = sys.argv[1:]
    box = Box(link, Path(path), Path(key_file), int(port))
    if os.fork():
        os._exit(0)
    os.setsid()
    box.run()


if __name__ == "__main__":
    main()
