"""Challenges of a reflector: each is for one leaf and key, holds for a minute, and serves once.

A challenge carries its own seal, so the reflector remembers only those that were used. They do not
survive a restart; a leaf fetches another one for each submission.
"""

import base64
import binascii
import hashlib
import hmac
import struct
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from secrets import token_bytes

import attrs

from routerd.errors import EnrollmentRefused
from routerd.spi import Clock

LIFE_SECONDS = 60.0
"""Seconds for which a challenge holds."""

MOST_USED = 65_536
"""Maximum number of used challenges of one life that a reflector remembers; it refuses more."""

_END = struct.Struct(">d")
_NONCE = 16
_SEAL = hashlib.sha256().digest_size


@attrs.frozen(kw_only=True)
class Challenge:
    """A challenge as text, and its end by the reflector's clock."""

    text: str
    expires_at: datetime


class Challenges:
    """Issues challenges and takes them back."""

    def __init__(self, clock: Clock, *, random: Callable[[int], bytes] = token_bytes) -> None:
        self._clock = clock
        self._random = random
        self._key = random(_SEAL)
        self._used: set[bytes] = set()
        self._ends: deque[tuple[float, bytes]] = deque()

    def issue(self, subject: Sequence[str]) -> Challenge:
        """Return a challenge for a subject: the policy, the method, the leaf and its key."""
        body = _END.pack(self._clock.monotonic() + LIFE_SECONDS) + self._random(_NONCE)
        text = base64.urlsafe_b64encode(body + self._seal(body, subject)).decode().rstrip("=")
        return Challenge(text=text, expires_at=self._clock.now() + timedelta(seconds=LIFE_SECONDS))

    def spend(self, text: str, subject: Sequence[str], who: str) -> None:
        """Check that a challenge was issued for the subject, holds and is unused; then it is used."""
        if not text:
            raise EnrollmentRefused(
                "join-challenge-required",
                f"{who}: its proof answers no challenge; fetch one at /sam-enrollment-challenges",
            )
        raw = _decoded(text)
        body, seal = raw[:-_SEAL], raw[-_SEAL:]
        if len(raw) != _END.size + _NONCE + _SEAL or not hmac.compare_digest(seal, self._seal(body, subject)):
            _refuse(who, "was not issued here for this leaf and its key")
        end = _END.unpack_from(body)[0]
        now = self._clock.monotonic()
        if end <= now:
            _refuse(who, f"is older than {LIFE_SECONDS:g} s")
        while self._ends and self._ends[0][0] <= now:
            self._used.discard(self._ends.popleft()[1])
        if body in self._used:
            _refuse(who, "was used before")
        if len(self._used) >= MOST_USED:
            raise EnrollmentRefused(
                "join-challenge-invalid", f"{who}: too many challenges were used this minute; try again later"
            )
        self._used.add(body)
        self._ends.append((end, body))

    def _seal(self, body: bytes, subject: Sequence[str]) -> bytes:
        parts = (body, *(each.encode(errors="surrogateescape") for each in subject))
        # Each part with its length, so that two subjects never have the same text.
        text = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._key, text, "sha256")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""


def _refuse(who: str, why: str) -> None:
    raise EnrollmentRefused("join-challenge-invalid", f"{who}: its challenge {why}; fetch a new one")
