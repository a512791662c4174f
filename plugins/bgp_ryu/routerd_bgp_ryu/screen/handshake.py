"""OPEN, NOTIFICATION and ROUTE-REFRESH as they arrive. Pure.

An OPEN goes on in the plain form, with one capability in each parameter. The library does not know long
optional parameters (RFC 9072), and does not check where a capability ends.
"""

from routerd_bgp_ryu.screen.verdict import NOTIFICATION, OPEN, Fault, Verdict, framed

_CAPABILITIES = 2
_EXTENDED = 255
_MULTIPROTOCOL, _WIDE_ASN = 1, 65
_LENGTHS = {_MULTIPROTOCOL: 4, 2: 0, _WIDE_ASN: 4, 70: 0, 128: 0}
"""Octets of the capabilities that have one length; 2, 70 and 128 are route refreshes."""

_GRACEFUL_RESTART = 64
_SHOWN = 128
"""Octets of a NOTIFICATION's data that this speaker reads (RFC 9003 section 2: 128 at first)."""

_IPV4_UNICAST = b"\x00\x01"


def screen_open(message: bytes) -> Verdict:
    """Judge an OPEN (RFC 4271 section 6.2); `Gate` then judges its sender."""
    body = message[19:]
    if body[0] != 4:
        return _refused((2, 1), f"BGP version {body[0]}", b"\x00\x04")
    hold = int.from_bytes(body[3:5])
    if hold in (1, 2):
        return _refused((2, 6), f"hold time of {hold} s")
    parameters = _parameters(body)
    capabilities: list[tuple[int, bytes]] = []
    if parameters is None:
        return _refused((2, 0), "optional parameters that do not fit their length")
    for kind, value in parameters:
        if kind != _CAPABILITIES:
            return _refused((2, 4), f"an optional parameter of type {kind}")
        more = _pairs(value, 1)
        if more is None:
            return _refused((2, 0), "capabilities that do not fit their length")
        capabilities += more
    for kind, value in capabilities:
        if kind in (_MULTIPROTOCOL, _WIDE_ASN) and len(value) != 4:
            return _refused((2, 0), f"capability {kind} of {len(value)} octets")
    if not any(body[1:3]) or (_WIDE_ASN, bytes(4)) in capabilities:
        return _refused((2, 2), "AS number 0")  # RFC 7607
    plain = _plain(capabilities)
    rebuilt = body[:9] + bytes([len(plain)]) + plain
    return Verdict(messages=(framed(OPEN, rebuilt),))


def _refused(code: tuple[int, int], text: str, data: bytes = b"") -> Verdict:
    return Verdict(fault=Fault(code=code, text=text, data=data))


def _parameters(body: bytes) -> list[tuple[int, bytes]] | None:
    """Return the optional parameters of an OPEN, in either form."""
    announced, rest = body[9], body[10:]
    if announced and rest[:1] == bytes([_EXTENDED]):  # RFC 9072 section 2
        if len(rest) < 3 or int.from_bytes(rest[1:3]) != len(rest) - 3:
            return None
        return _pairs(rest[3:], 2)
    return _pairs(rest, 1) if announced == len(rest) else None


def _pairs(field: bytes, width: int) -> list[tuple[int, bytes]] | None:
    """Return types and values, whose lengths have `width` octets; none when they do not fit."""
    found: list[tuple[int, bytes]] = []
    start = 0
    while start < len(field):
        value = start + 1 + width
        stop = value + int.from_bytes(field[start + 1 : value])
        if value > len(field) or stop > len(field):
            return None
        found.append((field[start], field[value:stop]))
        start = stop
    return found


def _plain(capabilities: list[tuple[int, bytes]]) -> bytes:
    """Return one optional parameter for each capability that the library reads, once."""
    plain = b""
    for kind, value in dict.fromkeys(capabilities):
        if _speaks(kind, value):
            more = bytes([_CAPABILITIES, len(value) + 2, kind, len(value)]) + value
            plain += more if len(plain) + len(more) <= 255 else b""
    return plain


def _speaks(kind: int, value: bytes) -> bool:
    if kind == _GRACEFUL_RESTART:
        return len(value) % 4 == 2 and len(value) < 64
    return kind in _LENGTHS and len(value) == _LENGTHS[kind]


def screen_notification(message: bytes) -> Verdict:
    """Pass a NOTIFICATION on with the data that this speaker reads; nothing answers it (section 6.4)."""
    return Verdict(messages=(framed(NOTIFICATION, message[19 : 21 + _SHOWN]),))


def screen_refresh(message: bytes) -> Verdict:
    """Judge a ROUTE-REFRESH (RFC 2918, RFC 7313 section 5).

    Filters (RFC 5291) were not negotiated, so that a message with some has a wrong length. The borders of a
    refresh were not negotiated either. The screen ignores a refresh of another family.
    """
    if len(message) != 23:
        text = f"ROUTE-REFRESH of {len(message)} octets"
        return Verdict(fault=Fault(code=(7, 1), text=text, data=message))
    wanted = message[19:21] == _IPV4_UNICAST and message[21] == 0 and message[22] == 1
    return Verdict(messages=(message,) if wanted else ())


def shutdown_words(data: bytes) -> str:
    """Return a neighbour's reason for its shutdown (RFC 9003), `?` for each control character; or nothing."""
    said = data[1 : 1 + data[0]] if data and data[0] < len(data) else b""
    return "".join(each if each.isprintable() else "?" for each in said.decode(errors="replace"))[:_SHOWN]
