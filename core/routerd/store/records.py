"""What the store remembers beside claims and topologies; plain values."""

from __future__ import annotations

from datetime import datetime

import attrs

from routerd.model.change import Verb
from routerd.spi import JSONValue


@attrs.frozen(kw_only=True)
class UsedNonce:
    """A nonce that was admitted once; `fingerprint` is the digest of what was signed with it."""

    policy: str
    nonce: str
    leaf_id: str
    fingerprint: str


@attrs.frozen(kw_only=True)
class Revocation:
    """A claim that was revoked: its (policy, leaf, nonce) never returns."""

    policy: str
    leaf_id: str
    nonce: str
    name: str
    reason: str
    revoked_at: datetime


@attrs.frozen(kw_only=True)
class JournalEntry:
    """A change outside the host, written down before it was made.

    `key` is the key's text and `key_value` its JSON. `outcome` is empty while nothing is known of
    it, else `done`, `failed: ...` (it may have happened) or `refused: ...` (it has not).
    """

    number: int
    scope: str
    table: str
    verb: Verb
    key: str
    key_value: JSONValue
    before: JSONValue
    after: JSONValue
    begun_at: datetime
    outcome: str = ""
    finished_at: datetime | None = None
