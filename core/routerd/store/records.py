"""What the store remembers beside claims and topologies; plain values."""

from __future__ import annotations

from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

import attrs

from routerd.model.change import Verb
from routerd.model.claim import AdmittedClaim, Claim
from routerd.spi import JSONValue

Decision = Literal["admitted", "renewed", "pending", "approved", "rejected", "revoked", "refused"]


@attrs.frozen(kw_only=True)
class UsedNonce:
    """A nonce that was admitted once; `fingerprint` is the digest of what was signed with it.

    After `until` no policy admits a claim with it any more, because it has ended; none means never.
    """

    policy: str
    nonce: str
    leaf_id: str
    fingerprint: str
    until: datetime | None = None


@attrs.frozen(kw_only=True)
class Revocation:
    """A leaf that was revoked: what it had signed never returns, and what it signs anew not yet.

    `public_key` is its WireGuard key, refused under whatever name. With `lifted_at` somebody has
    allowed the leaf to join again with a claim that is signed after `revoked_at`.
    """

    policy: str
    leaf_id: str
    nonce: str
    name: str
    reason: str
    revoked_at: datetime
    public_key: str = ""
    lifted_at: datetime | None = None


@attrs.frozen(kw_only=True)
class PendingClaim:
    """A claim that waits for somebody's approval; `digest` is that of the claim as submitted."""

    claim: Claim
    digest: str
    source: IPv4Address | IPv6Address | None
    first_seen: datetime
    expires_at: datetime


@attrs.frozen(kw_only=True)
class Verdict:
    """What somebody decided about a leaf where the policy says `approval: manual`.

    It covers the claim's `substance`: everything in it but nonce, time and proof, so that an
    approved leaf renews by itself, and asks again when it wants something else.
    """

    policy: str
    leaf_id: str
    name: str
    substance: str
    approved: bool
    reason: str
    decided_at: datetime


@attrs.frozen(kw_only=True)
class Quarantined:
    """A stored claim that cannot be used; it counts as not there, and is kept for people to look at."""

    name: str
    reason: str


@attrs.frozen(kw_only=True)
class AuditEntry:
    """One decision on a claim; `count` folds what happened again and again in a short time.

    `number` is 0 before it is stored. `source` is an address, or empty for the admin socket.
    """

    at: datetime
    decision: Decision
    claim: str
    leaf_id: str = ""
    policy: str = ""
    source: str = ""
    reason: str = ""
    message: str = ""
    count: int = 1
    number: int = 0


@attrs.frozen(kw_only=True)
class AdmissionState:
    """Everything that a route reflector knows of claims, as it was read from the disk."""

    admitted: tuple[AdmittedClaim, ...] = ()
    pending: tuple[PendingClaim, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    revocations: tuple[Revocation, ...] = ()
    quarantined: tuple[Quarantined, ...] = ()


@attrs.frozen(kw_only=True)
class Forget:
    """A write that removes a claim that waits; with `admitted` also what is stored as admitted."""

    name: str
    admitted: bool = False


Write = AdmittedClaim | UsedNonce | PendingClaim | Forget | Verdict | Revocation | AuditEntry
"""One thing to put on the disk; several of them are one transaction."""


@attrs.frozen(kw_only=True)
class JournalEntry:
    """A change outside the host, written down before it was made.

    `key` is the key's text and `key_value` its JSON. `outcome` is empty while nothing is known of
    it, else `done`, `failed: ...` (it may have happened) or `refused: ...` (it has not). `undoes` is
    the number of the entry that it undoes; with `ended` the key was given up since.
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
    undoes: int | None = None
    ended: bool = False


@attrs.frozen(kw_only=True)
class Approval:
    """Somebody's leave to make one change outside the host, once.

    `digest` is made from everything that the change is, so that it covers no other. `number` is 0
    before it is stored.
    """

    scope: str
    table: str
    digest: str
    verb: Verb
    key: str
    key_value: JSONValue
    before: JSONValue
    after: JSONValue
    approved_at: datetime
    number: int = 0


@attrs.frozen(kw_only=True)
class Hold:
    """A key that is left alone because a change of it was undone; `entry` is the undo's number."""

    scope: str
    table: str
    key: str
    key_value: JSONValue
    entry: int
    held_at: datetime
