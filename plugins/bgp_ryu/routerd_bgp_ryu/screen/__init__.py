"""Judges by the RFCs what a neighbour sends, before the library's parser reads it. Pure.

At malformed input the library raises all kinds of exceptions and ends the session. It keeps duplicate
attributes, guesses how long AS numbers are, and takes more than was negotiated. What this package lets
through has a plain form that the library reads without an exception.
"""

from collections import OrderedDict

import attrs

from routerd_bgp_ryu.screen.attributes import Judged, judge
from routerd_bgp_ryu.screen.frame import Framer
from routerd_bgp_ryu.screen.handshake import (
    screen_notification,
    screen_open,
    screen_refresh,
    shutdown_words,
)
from routerd_bgp_ryu.screen.update import named, parts, screen_update, withdrawal
from routerd_bgp_ryu.screen.verdict import (
    NOTIFICATION,
    OPEN,
    ROUTE_REFRESH,
    UPDATE,
    Fault,
    Flaw,
    Terms,
    Verdict,
    Weight,
)

__all__ = [
    "NOTIFICATION",
    "OPEN",
    "ROUTE_REFRESH",
    "UPDATE",
    "Fault",
    "Flaw",
    "Framer",
    "Screen",
    "Terms",
    "Verdict",
    "Weight",
    "named",
    "screen_notification",
    "screen_open",
    "screen_refresh",
    "shutdown_words",
    "withdrawal",
]

_REMEMBERED = 64
"""Maximum blocks of attributes whose verdict a session keeps."""

_WORTH = 512
"""Maximum octets of such a block, so that a neighbour cannot fill our memory."""


class Screen:
    """Judges the messages of one session; a block of attributes that repeats, once."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self._seen: OrderedDict[bytes, Judged] = OrderedDict()

    def judge(self, message: bytes) -> Verdict:
        """Return the verdict on a message whose header is good; never raises."""
        kind = message[18]
        if kind == UPDATE:
            return self._update(message)
        if kind == OPEN:
            return screen_open(message)
        if kind == NOTIFICATION:
            return screen_notification(message)
        return screen_refresh(message) if kind == ROUTE_REFRESH else Verdict(messages=(message,))

    def narrow(self) -> "Screen":
        """Return the screen for the same session, with AS numbers of two octets."""
        return Screen(attrs.evolve(self.terms, wide=False))

    def _update(self, message: bytes) -> Verdict:
        fields = parts(message)
        block = fields[1] if fields is not None else b""
        if not block or len(block) > _WORTH:
            return screen_update(message, self.terms)
        judged = self._seen.get(block)
        if judged is None:
            judged = self._seen[block] = judge(block, self.terms)
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
        return screen_update(message, self.terms, judged)
