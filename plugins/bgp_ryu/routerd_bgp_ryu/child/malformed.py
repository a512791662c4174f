"""Malformed messages of neighbours: by prefix, by number and in words, all of it bounded."""

import logging
from collections import Counter
from collections.abc import Container, Iterator

from routerd_bgp_ryu.screen import Verdict, Weight, named, prefixes
from routerd_bgp_ryu.wire import Document

_LOG = logging.getLogger("routerd.bgp")
RECEIVED = "received malformed UPDATE"
_KEPT = 1000
"""Maximum prefixes of a neighbour to remember; the count goes on beyond them."""


class Malformed:
    """Remembers, of each neighbour, which prefixes it announced in an UPDATE that could not be used.

    Such a prefix counts as rejected until the neighbour names it in an UPDATE that can.
    """

    def __init__(self) -> None:
        self._prefixes: dict[str, dict[bytes, str]] = {}
        self._times: Counter[str] = Counter()

    def note(self, neighbour: str, verdict: Verdict) -> str:
        """Remember what was wrong with an UPDATE; return the reason if it withdraws routes, else nothing.

        The log has the first, second, fourth, eighth ... of a neighbour, so that it stays short.
        """
        known = self._prefixes.get(neighbour)
        if known:
            self._forget(known, verdict)
        flaw = verdict.worst
        if flaw is None:
            return ""
        if verdict.withdrawn and flaw.weight is Weight.WITHDRAW:
            known = self._prefixes.setdefault(neighbour, {})
            for prefix in verdict.withdrawn[: max(0, _KEPT - len(known))]:
                known[prefix] = flaw.reason
        became = "attribute discarded" if flaw.weight is Weight.DISCARD else "treated as withdrawal"
        said = f"{RECEIVED}: {flaw.text}; {became} (RFC 7606)"
        self.count(neighbour, said)
        return said if flaw.weight is Weight.WITHDRAW else ""

    def count(self, neighbour: str, said: str) -> None:
        """Count a malformed message, and log it unless the log has enough of them."""
        self._times[neighbour] += 1
        times = self._times[neighbour]
        if times & (times - 1) == 0:
            _LOG.warning("%s: %s (%d malformed messages so far)", neighbour, said, times)

    def rejected(self, neighbour: str, entered: Container[str]) -> Iterator[Document]:
        """Yield the neighbour's prefixes as rejected routes, without those that have `entered` since."""
        for prefix, reason in sorted(self._prefixes.get(neighbour, {}).items()):
            text = prefixes.text(prefix)
            if text not in entered:
                yield {"prefix": text, "neighbour": neighbour, "reason": reason}

    def drop(self, neighbour: str) -> None:
        """Forget what a neighbour announced: its session is over."""
        self._prefixes.pop(neighbour, None)

    @staticmethod
    def _forget(known: dict[bytes, str], verdict: Verdict) -> None:
        for message in verdict.messages:
            for prefix in named(message):
                known.pop(prefix, None)
