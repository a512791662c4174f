"""Cuts a neighbour's octets into messages, and checks their headers (RFC 4271 section 6.1). Pure."""

from collections.abc import Iterator

from routerd_bgp_ryu.screen.verdict import (
    HEADER,
    KEEPALIVE,
    NOTIFICATION,
    OPEN,
    ROUTE_REFRESH,
    UPDATE,
    Fault,
)

LENGTH = 19
"""Octets of a header."""

LONGEST = 4096
"""Octets of the longest message; longer ones (RFC 8654) are not negotiated."""

_SHORTEST = {OPEN: 29, UPDATE: 23, NOTIFICATION: 21, KEEPALIVE: 19, ROUTE_REFRESH: 19}
_NAMES = {
    OPEN: "OPEN",
    UPDATE: "UPDATE",
    NOTIFICATION: "NOTIFICATION",
    KEEPALIVE: "KEEPALIVE",
    ROUTE_REFRESH: "ROUTE-REFRESH",
}


class Framer:
    """Keeps the octets of one connection that are not a whole message yet; never more than one message."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, received: bytes) -> Iterator[bytes | Fault]:
        """Yield the messages that are whole now; a fault is the last, because nothing can be cut after it.

        A bad header is a fault at once, without its body.
        """
        stream = self._rest + received if self._rest else received
        self._rest = b""  # a caller that stops in between reads nothing more of this connection
        start = 0
        while len(stream) - start >= LENGTH:
            fault = check_header(stream[start : start + LENGTH])
            if fault is not None:
                yield fault
                return
            end = start + int.from_bytes(stream[start + 16 : start + 18])
            if end > len(stream):
                break
            yield stream[start:end]
            start = end
        self._rest = stream[start:]


def check_header(header: bytes) -> Fault | None:
    """Return what is wrong with 19 octets of a header."""
    length, kind = int.from_bytes(header[16:18]), header[18]
    if not header.startswith(HEADER):
        return Fault(code=(1, 1), text="the marker is not all ones")
    if not LENGTH <= length <= LONGEST:
        return Fault(code=(1, 2), text=f"a message of {length} octets", data=header[16:18])
    shortest = _SHORTEST.get(kind)
    if shortest is None:
        return Fault(code=(1, 3), text=f"a message of type {kind}", data=bytes([kind]))
    if length < shortest or (kind == KEEPALIVE and length != shortest):
        return Fault(code=(1, 2), text=f"{_NAMES[kind]} of {length} octets", data=header[16:18])
    return None
