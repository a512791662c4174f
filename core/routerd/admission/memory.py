"""The register of a route reflector: in memory, everything that was ever decided about claims.

It is made from the store, and each change of it is one write to the store. A change can be taken
back, for when the disk refuses the write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TypeVar

import attrs

from routerd.admission.form import check_form
from routerd.admission.holdings import Roster, told
from routerd.errors import EnrollmentRefused
from routerd.model.claim import AdmittedClaim, Claim
from routerd.model.intent import Intent
from routerd.store.records import (
    AdmissionState,
    Forget,
    PendingClaim,
    Quarantined,
    Revocation,
    Verdict,
    Write,
)

K = TypeVar("K")
V = TypeVar("V")

Undo = Callable[[], None]


class Register:
    """Claims by all that must be unique, claims that wait, verdicts and revocations."""

    def __init__(self, state: AdmissionState, intent: Intent, now: datetime) -> None:
        self.quarantined: dict[str, Quarantined] = {each.name: each for each in state.quarantined}
        self._pending = {each.claim.name: each for each in state.pending}
        self._verdicts = {(each.policy, each.leaf_id): each for each in state.verdicts}
        self._revocations: dict[tuple[str, str], dict[str, Revocation]] = {}
        self._revoked_keys: dict[str, dict[tuple[str, str, str], Revocation]] = {}
        for revocation in state.revocations:
            self._revoke(revocation)
        self.roster = Roster(intent)
        for admitted in sorted(state.admitted, key=lambda each: (each.admitted_at, each.claim.name)):
            self._take_in(self._as_revoked(admitted), now)

    # --- from the disk -----------------------------------------------------------------------------

    def _take_in(self, admitted: AdmittedClaim, now: datetime) -> None:
        """Index a stored claim, or set it aside alone with the reason."""
        name = admitted.claim.name
        try:
            check_form(attrs.evolve(admitted.claim, revoked=False))
            if admitted.active(now):
                for thing in self.roster.holdings(admitted.claim).things:
                    other = self.roster.holder(thing, but=name, now=now)
                    if other is not None:
                        words = f"{told(thing)} is held by claim {other.claim.name}"
                        raise ValueError(words)  # noqa: TRY301 - one way into quarantine
            self.roster.put(admitted)
        except (EnrollmentRefused, ValueError) as error:
            self.quarantined[name] = Quarantined(name=name, reason=str(error))

    def _as_revoked(self, admitted: AdmittedClaim) -> AdmittedClaim:
        """Return the claim as its revocation says, of which the claim's own record may not know."""
        claim = admitted.claim
        for found in self._revocations.get((claim.policy, claim.leaf_id.strip()), {}).values():
            if found.lifted_at is None or found.nonce == claim.join_nonce.strip():
                return attrs.evolve(admitted, claim=attrs.evolve(claim, revoked=True))
        return admitted

    def reindexed(self, intent: Intent) -> None:
        """Index everything by another configuration."""
        self.roster = Roster(intent, self.roster)

    # --- looking -----------------------------------------------------------------------------------

    def pending(self, name: str) -> PendingClaim | None:
        """Return the claim of that name that waits, or was rejected."""
        return self._pending.get(name)

    def waiting(self) -> Iterator[PendingClaim]:
        """Yield the claims that wait, or were rejected, by name."""
        for _, found in sorted(self._pending.items()):
            yield found

    def verdict(self, policy: str, leaf: str) -> Verdict | None:
        """Return what somebody decided about a leaf."""
        return self._verdicts.get((policy, leaf))

    def revocations(self, policy: str, claim: Claim) -> tuple[Revocation, ...]:
        """Return the revocations of the claim's leaf, and those of its WireGuard key."""
        own = self._revocations.get((policy, claim.leaf_id.strip()), {}).values()
        key = claim.wireguard.public_key.strip() if claim.wireguard is not None else ""
        others = self._revoked_keys.get(key, {}).values() if key else ()
        return (*own, *(each for each in others if each not in own))

    # --- changing ----------------------------------------------------------------------------------

    def apply(self, write: Write) -> Undo:
        """Take in what is about to be written; return what takes it back."""
        match write:
            case AdmittedClaim():
                return self._admit(write)
            case PendingClaim():
                return _put(self._pending, write.claim.name, write)
            case Forget():
                return self._forget(write)
            case Verdict():
                return _put(self._verdicts, (write.policy, write.leaf_id), write)
            case Revocation():
                return self._revoke(write)
            case _:
                return _nothing

    def _admit(self, admitted: AdmittedClaim) -> Undo:
        name, roster = admitted.claim.name, self.roster
        before, aside = roster.named(name), self.quarantined.pop(name, None)
        roster.put(admitted)

        def undo() -> None:
            # The configuration may have changed since; the roster of now is the one to mend.
            if before is None:
                self.roster.drop(name)
            else:
                self.roster.put(before)
            if aside is not None:
                self.quarantined[name] = aside

        return undo

    def _forget(self, write: Forget) -> Undo:
        undos = [_put(self._pending, write.name, None)]
        if write.admitted:
            undos.append(_put(self.quarantined, write.name, None))
        return _all(undos)

    def _revoke(self, revocation: Revocation) -> Undo:
        policy, leaf, nonce = revocation.policy, revocation.leaf_id, revocation.nonce
        undos = [_put(self._revocations.setdefault((policy, leaf), {}), nonce, revocation)]
        if revocation.public_key:
            keys = self._revoked_keys.setdefault(revocation.public_key, {})
            undos.append(_put(keys, (policy, leaf, nonce), revocation))
        return _all(undos)


def _put(table: dict[K, V], key: K, value: V | None) -> Undo:
    before = table.get(key)
    _set(table, key, value)
    return lambda: _set(table, key, before)


def _set(table: dict[K, V], key: K, value: V | None) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value


def _all(undos: Sequence[Undo]) -> Undo:
    def undo() -> None:
        for each in undos:
            each()

    return undo


def _nothing() -> None:
    return
