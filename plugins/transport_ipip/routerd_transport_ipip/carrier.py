"""One tunnel of the relay: a TUN device on one side, a socket on the other, and packets between them.

The socket makes the outer header like the kernel's own tunnel: the tunnel's TTL, DSCP 0, "don't
fragment", and for UDP no checksum. This module imports only the standard library.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct

from routerd_transport_ipip import gre, packets

PROTOCOLS = {"ipip": 4, "gre": gre.PROTOCOL_GRE}
"""IP protocols of the raw sockets; foo-over-UDP uses a UDP socket."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    # The real one costs memory in a process that should stay small.
    from collections.abc import Callable

BURST = 64
"""Packets from one side before the other descriptors get their turn."""

ROOM = 65535 + 64

_TUNSETIFF = 0x400454CA
_TUNGETIFF = 0x800454D2
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
_IFF_TUN_EXCL = 0x8000
_SIOCGIFMTU = 0x8921
_SIOCSIFTXQLEN = 0x8943
_QUEUE = 1000
_IP_MTU_DISCOVER = 10
_IP_PMTUDISC_DO = 2
_IP_RECVTOS = 13
_IP_MTU = 14
_SO_NO_CHECK = 11
_FORCED = {socket.SO_RCVBUF: 33, socket.SO_SNDBUF: 32}  # SO_RCVBUFFORCE, SO_SNDBUFFORCE
_BUFFER = 4 << 20
_TOS_OF_PACKET = (socket.IPPROTO_IP, socket.IP_TOS)
_SPACE_OF_TOS = socket.CMSG_SPACE(4)
_INNER = 20
"""Bytes before a packet in the buffer, for the outer header of a raw socket."""

_NO_PACKET = packets.PLAIN + b"\0"

Wire = tuple[str, str, int, int, int, int | None]
"""Local address, remote address, TTL, the UDP ports, 0 without UDP, and the key, none without one."""


class DeviceGone(Exception):
    """Another program has deleted the tunnel's device."""


class Carrier:
    """Exchanges packets with the tunnel's far end only."""

    def __init__(self, mode: str, name: str, wire: Wire, errors: socket.socket | None) -> None:
        self.name = name
        self.wire = wire
        self._mode = mode
        self._errors = errors
        self._outgoing = bytearray(ROOM)
        self._incoming = bytearray(ROOM)
        self._ecn = 0
        self._header = _header(mode, wire)
        self._others: frozenset[int | None] = frozenset()
        self.socket = _connected(mode, wire)
        try:
            self.device = _make_device(name)
        except OSError:
            self.socket.close()
            raise

    def has_its_device(self) -> bool:
        """Say whether the device still exists under the tunnel's name."""
        try:
            found = fcntl.ioctl(self.device, _TUNGETIFF, bytes(40))
        except OSError:
            return False
        return found[:16].rstrip(b"\0") == self.name.encode()

    def reconnect(self, wire: Wire) -> None:
        """Use another socket; on failure nothing changes. The device and its routes stay."""
        made = _connected(self._mode, wire)
        self.socket.close()
        self.socket, self.wire, self._ecn = made, wire, 0
        self._header, self._others = _header(self._mode, wire), frozenset()

    def leave(self, keys: frozenset[int | None]) -> None:
        """Ignore packets with these keys: they belong to other tunnels between the same ends."""
        if keys != self._others:
            gre.attach(self.socket, gre.filter_without(list(keys)) if keys else b"")
            self._others = keys

    def close(self) -> None:
        """Close both sides; the device ends with its descriptor."""
        os.close(self.device)
        self.socket.close()

    # --- to the far end ----------------------------------------------------------------------------

    def out(self) -> None:
        """Carry packets from the device to the far end."""
        buffer = self._outgoing
        view, vector = memoryview(buffer), [buffer]
        device, send, header = self.device, self.socket.send, self._header
        # The kernel's virtio header before the packet is empty; our header takes its place.
        before = packets.VIRTIO_BYTES - len(header)
        for _ in range(BURST):
            try:
                size = os.readv(device, vector)
            except OSError as error:
                _check_device(error)
                return
            if buffer[packets.VIRTIO_BYTES] >> 4 != 4:
                continue
            ecn = packets.outer_ecn(buffer[packets.VIRTIO_BYTES + 1])
            if ecn != self._ecn:
                self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, ecn)
                self._ecn = ecn
            if header:
                buffer[before : packets.VIRTIO_BYTES] = header
            packet = view[before:size]
            try:
                send(packet)
            except OSError as error:
                self._unsent(error, packet)

    def _unsent(self, error: OSError, packet: memoryview) -> None:
        """Handle a failed send; a packet that the underlay cannot take is lost, as everywhere in IP."""
        with contextlib.suppress(OSError):
            if error.errno == errno.EMSGSIZE:
                self._refuse(bytes(packet[len(self._header) :]))
            elif not isinstance(error, BlockingIOError):
                # The call reported an ICMP error about an earlier packet and did not send this one.
                self.socket.send(packet)

    def _refuse(self, inner: bytes) -> None:
        """Send the path's MTU to the sender: the path to the far end is narrower than its own link."""
        mtu = self.socket.getsockopt(socket.IPPROTO_IP, _IP_MTU) - packets.overhead(self._mode, self.wire[-1])
        message = packets.too_big(inner, mtu)
        if message is not None and self._errors is not None:
            self._errors.sendto(message, (socket.inet_ntoa(inner[12:16]), 0))

    # --- from the far end --------------------------------------------------------------------------

    def back(self) -> None:
        """Carry packets from the far end to the device."""
        buffer = self._incoming
        view = memoryview(buffer)
        receive = self._receive
        for _ in range(BURST):
            try:
                start, end, tos = receive(buffer, view)
            except BlockingIOError:
                return
            except OSError:
                # An ICMP error about an earlier packet of ours.
                continue
            end = packets.accept(buffer, start, end, tos) if start else 0
            if not end:
                self._count_drop()
                continue
            before = start - packets.VIRTIO_BYTES
            buffer[before:start] = (
                packets.PLAIN
                if packets.is_finished(buffer, start)
                else packets.virtio_header(buffer, start, _interface_mtu(self.socket, self.name))
            )
            try:
                os.write(self.device, view[before:end])
            except OSError as error:
                _check_device(error)

    @property
    def _receive(self) -> Callable[[bytearray, memoryview], tuple[int, int, int]]:
        """Return the function that reads a packet and returns its begin, its end and its outer TOS."""
        if self._mode == "fou":
            return self._receive_datagram
        return self._receive_gre if self._mode == "gre" else self._receive_raw

    def _receive_raw(self, buffer: bytearray, _view: memoryview) -> tuple[int, int, int]:
        size = self.socket.recv_into(buffer)
        return (buffer[0] & 0x0F) * 4, size, buffer[1]

    def _receive_gre(self, buffer: bytearray, _view: memoryview) -> tuple[int, int, int]:
        size = self.socket.recv_into(buffer)
        return gre.opened(buffer, (buffer[0] & 0x0F) * 4, size, self._header), size, buffer[1]

    def _receive_datagram(self, _buffer: bytearray, view: memoryview) -> tuple[int, int, int]:
        size, extra, _, _ = self.socket.recvmsg_into([view[_INNER:]], _SPACE_OF_TOS)
        tos = 0
        for level, kind, data in extra:
            if (level, kind) == _TOS_OF_PACKET:
                tos = data[0]
        return _INNER, _INNER + size, tos

    def _count_drop(self) -> None:
        """Make the kernel count the packet among the dropped ones of the device."""
        try:
            os.write(self.device, _NO_PACKET)
        except OSError as error:
            _check_device(error)


def _header(mode: str, wire: Wire) -> bytes:
    return gre.header(wire[-1]) if mode == "gre" else b""


def _check_device(error: OSError) -> None:
    if error.errno == errno.EBADFD:
        raise DeviceGone from error


def _make_device(name: str) -> int:
    """Return the descriptor of a new device; an existing one may be foreign, so it is an error.

    With IFF_VNET_HDR each packet has ten bytes before it, which tell the kernel the work that is left.
    """
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        flags = _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR | _IFF_TUN_EXCL
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            fcntl.ioctl(asking, _SIOCSIFTXQLEN, struct.pack("16si20x", name.encode(), _QUEUE))
    except OSError:
        os.close(device)
        raise
    return device


def _interface_mtu(asking: socket.socket, name: str) -> int:
    answer = fcntl.ioctl(asking, _SIOCGIFMTU, struct.pack("16si20x", name.encode(), 0))
    mtu: int = struct.unpack_from("i", answer, 16)[0]
    return mtu


def _connected(mode: str, wire: Wire) -> socket.socket:
    local, remote, ttl, sport, dport, _ = wire
    if mode == "fou":
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    else:
        made = socket.socket(socket.AF_INET, socket.SOCK_RAW, PROTOCOLS[mode])
    try:
        made.setblocking(False)
        if mode == "fou":
            # Tunnels to several far ends share the local port; the kernel finds the connected socket.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 1)
            made.setsockopt(socket.IPPROTO_IP, _IP_RECVTOS, 1)
        made.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DO)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        for option, forced in _FORCED.items():
            try:
                made.setsockopt(socket.SOL_SOCKET, forced, _BUFFER)
            except PermissionError:
                made.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
        made.bind((local, sport))
        made.connect((remote, dport))
        _drain(made)
    except OSError:
        made.close()
        raise
    return made


def _drain(made: socket.socket) -> None:
    """Drop the packets from before the connect: they may come from any host."""
    with contextlib.suppress(BlockingIOError):
        for _ in range(_BUFFER // packets.HEADER_BYTES):
            with contextlib.suppress(ConnectionRefusedError):
                made.recv(1)
