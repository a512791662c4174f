"""The claims of a route reflector: admitted, pending, revoked, and the audit trail.

One call of `commit` is one transaction, so that many decisions share the time of one `fsync`.
`load` quarantines a damaged record and reads all others.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import attrs

from routerd.model.claim import AdmittedClaim
from routerd.model.moment import exact_text
from routerd.model.report.claims import AuditEntry
from routerd.spi import JSONValue
from routerd.store.access import Access, Execute
from routerd.store.codec import sealed, unsealed
from routerd.store.denials import Denials
from routerd.store.records import (
    AdmissionState,
    Forget,
    PendingClaim,
    Quarantined,
    Revocation,
    UsedNonce,
    Verdict,
    Write,
)

T = TypeVar("T")

Row = tuple[JSONValue, ...]
"""The columns of a row."""

AUDIT_DEPTH = 10_000
"""Number of the latest decisions that the file keeps, and of the latest refusals."""

PRUNE_EVERY = 1_000
"""Number of new records of a sort after which `commit` drops the expired ones."""


class AdmissionBook:
    """The records of admission in the state file. Every method may raise `StoreError`."""

    def __init__(self, access: Access, denials: Denials, now: Callable[[], datetime]) -> None:
        self._access = access
        self._denials = denials
        self._now = now
        self._nonces = 0
        self._number = 0
        self._pruned = 0

    # --- reading -----------------------------------------------------------------------------------

    def load(self) -> AdmissionState:
        """Return everything but nonces and the audit trail; a damaged claim is quarantined by itself."""
        bad: list[Quarantined] = []
        claims = self._bodies("claims", AdmittedClaim, bad)
        pending = self._bodies("pending", PendingClaim, bad)
        verdicts = [
            found
            for (body,) in self._access.read("SELECT body FROM verdicts ORDER BY policy, leaf_id")
            if (found := _decoded(body, Verdict)) is not None
        ]
        return AdmissionState(
            admitted=tuple(claims),
            pending=tuple(pending),
            # A damaged verdict does not count: the leaf then asks for approval again.
            verdicts=tuple(verdicts),
            revocations=tuple(self._revocations()),
            quarantined=tuple(bad),
        )

    def _bodies(self, table: str, kind: type[T], bad: list[Quarantined]) -> Iterator[T]:
        rows = self._access.read(f"SELECT name, body FROM {table} ORDER BY name")  # noqa: S608 - constants
        for name, body in rows:
            try:
                yield unsealed(body, kind)
            except ValueError as error:
                bad.append(Quarantined(name=str(name), reason=f"its record is damaged: {_short(error)}"))

    def _revocations(self) -> Iterator[Revocation]:
        rows = self._access.read(
            "SELECT policy, leaf_id, nonce, body FROM revocations ORDER BY policy, leaf_id, nonce"
        )
        for policy, leaf, nonce, body in rows:
            found = _decoded(body, Revocation)
            # A revocation with a readable key and a damaged body still revokes.
            yield (
                found
                if found is not None
                else Revocation(
                    policy=policy,
                    leaf_id=leaf,
                    nonce=nonce,
                    name="",
                    reason="its record is damaged",
                    revoked_at=datetime.max.replace(tzinfo=UTC),
                )
            )

    def used_nonce(self, policy: str, nonce: str) -> UsedNonce | None:
        """Return the use of a nonce under a policy, or none."""
        rows = self._access.read(
            "SELECT policy, nonce, leaf_id, fingerprint, until FROM nonces WHERE policy = ? AND nonce = ?",
            (policy, nonce),
        )
        for found, text, leaf, fingerprint, until in rows:
            end = datetime.fromisoformat(until) if until else None
            return UsedNonce(policy=found, nonce=text, leaf_id=leaf, fingerprint=fingerprint, until=end)
        return None

    def audit(self, limit: int, claim: str | None = None) -> tuple[AuditEntry, ...]:
        """Return the latest `limit` decisions, oldest first; of one claim or of all."""
        rows = self._access.read(
            "SELECT number, body FROM (SELECT * FROM audit UNION ALL SELECT * FROM refusals) "
            "WHERE (?1 IS NULL OR claim = ?1) ORDER BY number DESC LIMIT ?2",
            (claim, limit),
        )
        found = [(number, _decoded(body, AuditEntry)) for number, body in reversed(rows)]
        return tuple(attrs.evolve(entry, number=number) for number, entry in found if entry is not None)

    # --- writing -----------------------------------------------------------------------------------

    def commit(self, writes: Sequence[Write]) -> None:
        """Put everything on the disk, or nothing.

        Revocations go to a second file first, so that a loss of the state file keeps them.
        """
        revocations = [write for write in writes if isinstance(write, Revocation)]
        if revocations:
            self._denials.append(revocations)
        if not self._number:
            self._number = self._pruned = self._last_number()
        rows: dict[str, list[Row]] = {}
        for write in writes:
            for statement, row in self._rows(write):
                rows.setdefault(statement, []).append(row)
        with self._access.transaction() as execute:
            for statement, several in rows.items():
                # One step for all rows of a sort: each step gives up Python's lock, and the event
                # loop beside this thread returns it late.
                execute(statement, (json.dumps(several, ensure_ascii=False, separators=(",", ":")),))
            self._prune(execute)

    def _last_number(self) -> int:
        query = "SELECT max(number) FROM (SELECT number FROM audit UNION ALL SELECT number FROM refusals)"
        return next((number or 0 for (number,) in self._access.read(query)), 0)

    def _rows(self, write: Write) -> Iterator[tuple[str, Row]]:
        """Yield the statements of a write, each with its row."""
        match write:
            case AdmittedClaim():
                yield _KEEP_CLAIMS, (write.claim.name, sealed(write))
            case UsedNonce():
                until = exact_text(write.until) if write.until is not None else None
                self._nonces += 1
                yield _KEEP_NONCES, (write.policy, write.nonce, write.leaf_id, write.fingerprint, until)
            case PendingClaim():
                yield _KEEP_PENDING, (write.claim.name, sealed(write))
            case Forget():
                yield _FORGET_PENDING, (write.name,)
                if write.admitted:
                    yield _FORGET_CLAIMS, (write.name,)
            case Verdict():
                yield _KEEP_VERDICTS, (write.policy, write.leaf_id, sealed(write))
            case Revocation():
                yield _KEEP_REVOCATIONS, (write.policy, write.leaf_id, write.nonce, sealed(write))
            case AuditEntry():
                # Apart, so that refused strangers cannot push decisions out of the trail.
                self._number += 1
                statement = _KEEP_REFUSALS if write.decision == "refused" else _KEEP_AUDIT
                yield statement, (self._number, write.claim, sealed(write))

    def _prune(self, execute: Execute) -> None:
        if self._nonces >= PRUNE_EVERY:
            self._nonces = 0
            execute("DELETE FROM nonces WHERE until < ?", (exact_text(self._now()),))
        if self._number - self._pruned >= PRUNE_EVERY:
            self._pruned = self._number
            for table in ("audit", "refusals"):
                execute(_PRUNE.format(table, AUDIT_DEPTH))


_PRUNE = "DELETE FROM {0} WHERE number <= (SELECT number FROM {0} ORDER BY number DESC LIMIT 1 OFFSET {1})"


def _keep(table: str, columns: int, conflict: str) -> str:
    """Return the statement that inserts the rows of a JSON array."""
    values = ", ".join(f"json_extract(value, '$[{column}]')" for column in range(columns))
    # `WHERE true` tells SQLite that ON CONFLICT is not part of a join.
    return f"INSERT INTO {table} SELECT {values} FROM json_each(?) WHERE true {conflict}"  # noqa: S608 - ours


_KEEP_CLAIMS = _keep("claims", 2, "ON CONFLICT (name) DO UPDATE SET body = excluded.body")
_KEEP_PENDING = _keep("pending", 2, "ON CONFLICT (name) DO UPDATE SET body = excluded.body")
_KEEP_NONCES = _keep("nonces", 5, "ON CONFLICT DO NOTHING")
_KEEP_VERDICTS = _keep("verdicts", 3, "ON CONFLICT (policy, leaf_id) DO UPDATE SET body = excluded.body")
_KEEP_REVOCATIONS = _keep(
    "revocations", 4, "ON CONFLICT (policy, leaf_id, nonce) DO UPDATE SET body = excluded.body"
)
_KEEP_AUDIT = _keep("audit", 3, "")
_KEEP_REFUSALS = _keep("refusals", 3, "")
_FORGET_PENDING = "DELETE FROM pending WHERE name IN (SELECT json_extract(value, '$[0]') FROM json_each(?))"
_FORGET_CLAIMS = "DELETE FROM claims WHERE name IN (SELECT json_extract(value, '$[0]') FROM json_each(?))"


def _decoded(body: str, kind: type[T]) -> T | None:
    try:
        return unsealed(body, kind)
    except ValueError:
        return None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
