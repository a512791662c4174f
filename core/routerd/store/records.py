"""The records of the store beside claims and topologies; plain values."""

from datetime import datetime

import attrs

from routerd.model.addresses import IPAddress
from routerd.model.change import Verb
from routerd.model.claim import AdmittedClaim, Claim
from routerd.model.report.claims import AuditEntry
from routerd.spi import JSONValue


@attrs.frozen(kw_only=True)
class UsedNonce:
    """A nonce of an admitted claim; `fingerprint` is the digest of the signed text.

    After `until` every claim with this nonce has expired; none means that none expires.
    """

    policy: str
    nonce: str
    leaf_id: str
    fingerprint: str
    until: datetime | None = None


@attrs.frozen(kw_only=True)
class Revocation:
    """A revoked leaf: the reflector refuses every claim that the leaf signed before `revoked_at`.

    It also refuses later claims until an operator allows the leaf to join again (`lifted_at`), and the
    WireGuard key `public_key` under every name.
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
    """A claim that waits for an operator's approval; `digest` is that of the submitted claim."""

    claim: Claim
    digest: str
    source: IPAddress | None
    first_seen: datetime
    expires_at: datetime


@attrs.frozen(kw_only=True)
class Verdict:
    """An operator's decision about a leaf of a policy with `approval: manual`.

    It covers the claim's `substance`: everything in it but nonce, time and proof. So an approved leaf
    renews its claim by itself, and needs a new approval for another claim.
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
    """A stored claim that is unusable: it counts as missing and stays for the operator to inspect."""

    name: str
    reason: str


@attrs.frozen(kw_only=True)
class AdmissionState:
    """Everything that a route reflector knows of claims, as read from the disk."""

    admitted: tuple[AdmittedClaim, ...] = ()
    pending: tuple[PendingClaim, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    revocations: tuple[Revocation, ...] = ()
    quarantined: tuple[Quarantined, ...] = ()


@attrs.frozen(kw_only=True)
class Forget:
    """A write that removes a pending claim; with `admitted` also the admitted one."""

    name: str
    admitted: bool = False


Write = AdmittedClaim | UsedNonce | PendingClaim | Forget | Verdict | Revocation | AuditEntry
"""One record to put on the disk; several of them are one transaction."""


@attrs.frozen(kw_only=True)
class OfKey:
    """A record about a key of a table outside the host; `key` is the key's text, `key_value` its JSON."""

    scope: str
    table: str
    key: str
    key_value: JSONValue


@attrs.frozen(kw_only=True)
class OfChange(OfKey):
    """A record about a change of a key."""

    verb: Verb
    before: JSONValue
    after: JSONValue


@attrs.frozen(kw_only=True)
class JournalEntry(OfChange):
    """A change outside the host, written down before it was made.

    `outcome` is empty while its end is unknown, else `done`, `superseded: ...` (ours had gone before),
    `failed: ...` (it may have happened) or `refused: ...` (it has not). `undoes` is the number of the
    entry that it undoes; with `ended` the key was given up since.
    """

    number: int
    begun_at: datetime
    outcome: str = ""
    finished_at: datetime | None = None
    undoes: int | None = None
    ended: bool = False


@attrs.frozen(kw_only=True)
class Approval(OfChange):
    """An operator's permission to make one change outside the host, once.

    `digest` covers the whole change, so the permission fits no other. `number` is 0 until the store
    has the approval.
    """

    digest: str
    approved_at: datetime
    number: int = 0


@attrs.frozen(kw_only=True)
class Hold(OfKey):
    """A key that routerd leaves alone after an undo; `entry` is the number of the undo."""

    entry: int
    held_at: datetime
