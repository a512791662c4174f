"""The screen's verdict on a message, and what the screen must know of the session. Pure."""

from enum import IntEnum
from ipaddress import IPv4Address

import attrs

from routerd_bgp_ryu.notification import error_text

HEADER = b"\xff" * 16
OPEN, UPDATE, NOTIFICATION, KEEPALIVE, ROUTE_REFRESH = range(1, 6)
"""Types of messages: RFC 4271 section 4.1, RFC 2918 section 3."""


@attrs.frozen(kw_only=True)
class Terms:
    """The two sides of a session, and what they agreed on.

    `local` is our own address on the session. `wide` says that AS numbers have four octets, because
    both sides announced that (RFC 6793).
    """

    asn: int
    peer_asn: int
    router_id: IPv4Address
    cluster_id: IPv4Address
    local: IPv4Address
    wide: bool = True

    @property
    def internal(self) -> bool:
        """Say whether both sides are in one AS."""
        return self.asn == self.peer_asn


@attrs.frozen(kw_only=True)
class Fault:
    """Why a session must end: a NOTIFICATION's code, subcode and data, and words."""

    code: tuple[int, int]
    text: str
    data: bytes = b""

    @property
    def sent(self) -> str:
        """Return the last error of a session that this fault ended."""
        return f"sent {error_text(*self.code)}: {self.text}"


class Weight(IntEnum):
    """What follows a flaw (RFC 7606 section 2), weakest first."""

    DISCARD = 1
    WITHDRAW = 2


@attrs.frozen(kw_only=True)
class Flaw:
    """An error in an UPDATE that the session survives.

    `reason` is the code under which its routes count as rejected. A `loop` is not an error of the
    neighbour: only its routes are not eligible.
    """

    weight: Weight
    text: str
    reason: str = "malformed-attribute"
    loop: bool = False


@attrs.frozen(kw_only=True)
class Verdict:
    """What the speaker sees instead of the message: none, one or two others, or the session's end.

    `withdrawn` holds prefixes that the message announced and that the speaker withdraws.
    """

    messages: tuple[bytes, ...] = ()
    fault: Fault | None = None
    flaws: tuple[Flaw, ...] = ()
    withdrawn: tuple[bytes, ...] = ()

    @property
    def worst(self) -> Flaw | None:
        """Return the heaviest flaw; none when the neighbour made no error."""
        real = [flaw for flaw in self.flaws if not flaw.loop]
        return max(real, key=lambda flaw: flaw.weight, default=None)


def framed(kind: int, body: bytes) -> bytes:
    """Return a message."""
    return HEADER + (19 + len(body)).to_bytes(2) + bytes([kind]) + body
