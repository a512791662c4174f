"""The memory of a route reflector: everything that was ever decided about claims.

The store fills it, and each change of it is one write to the store. A change can be undone when the
disk refuses the write.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TypeVar

import attrs

from routerd.admission.form import check_form
from routerd.admission.holdings import Holdings, described
from routerd.admission.policies import ReflectorRules
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


class Memory:
    """Claims by all that must be unique, claims that wait, verdicts and revocations."""

    def __init__(self, state: AdmissionState, intent: Intent, now: datetime) -> None:
        self.quarantined: dict[str, Quarantined] = {each.name: each for each in state.quarantined}
        self._pending = {each.claim.name: each for each in state.pending}
        self._verdicts = {(each.policy, each.leaf_id): each for each in state.verdicts}
        self._revocations: dict[tuple[str, str], dict[str, Revocation]] = {}
        self._revoked_keys: dict[str, dict[tuple[str, str, str], Revocation]] = {}
        for revocation in state.revocations:
            self._revoke(revocation)
        self.holdings = Holdings(intent)
        for admitted in sorted(state.admitted, key=lambda each: (each.admitted_at, each.claim.name)):
            self._take_in(self._as_revoked(admitted), now)

    # --- from the disk -----------------------------------------------------------------------------

    def _take_in(self, admitted: AdmittedClaim, now: datetime) -> None:
        """Index a stored claim, or quarantine it with the reason."""
        name = admitted.claim.name
        try:
            check_form(attrs.evolve(admitted.claim, revoked=False))
            if admitted.active(now):
                for item in self.holdings.held(admitted.claim).items:
                    other = self.holdings.holder(item, but=name, now=now)
                    if other is not None:
                        words = f"{described(item)} is held by claim {other.claim.name}"
                        raise ValueError(words)  # noqa: TRY301 - one way into quarantine
            self.holdings.put(admitted)
        except (EnrollmentRefused, ValueError) as error:
            self.quarantined[name] = Quarantined(name=name, reason=str(error))

    def _as_revoked(self, admitted: AdmittedClaim) -> AdmittedClaim:
        """Return the claim as its revocation says; the claim's own record may lack it."""
        claim = admitted.claim
        for found in self._revocations.get((claim.policy, claim.leaf_id), {}).values():
            if found.lifted_at is None or found.nonce == claim.join_nonce:
                return attrs.evolve(admitted, claim=attrs.evolve(claim, revoked=True))
        return admitted

    def rules(self, intent: Intent) -> ReflectorRules:
        """Return the rules of a configuration; a new one indexes everything again."""
        if intent is not self.holdings.rules.intent:
            self.holdings = Holdings(intent, self.holdings)
        return self.holdings.rules

    # --- looking -----------------------------------------------------------------------------------

    def pending(self, name: str) -> PendingClaim | None:
        """Return the claim of that name that waits, or was rejected."""
        return self._pending.get(name)

    def waiting(self) -> Iterator[PendingClaim]:
        """Yield the claims that wait, or were rejected, by name."""
        for _, found in sorted(self._pending.items()):
            yield found

    def verdict(self, policy: str, leaf: str) -> Verdict | None:
        """Return an operator's verdict on a leaf."""
        return self._verdicts.get((policy, leaf))

    def revocations(self, policy: str, claim: Claim) -> tuple[Revocation, ...]:
        """Return the revocations of the claim's leaf, and those of its WireGuard key."""
        own = self._revocations.get((policy, claim.leaf_id), {}).values()
        others = self._revoked_keys.get(claim.public_key, {}).values() if claim.public_key else ()
        return (*own, *(each for each in others if each not in own))

    # --- changing ----------------------------------------------------------------------------------

    def apply(self, write: Write) -> Undo:
        """Take in what will be written; return what undoes it."""
        match write:
            case AdmittedClaim():
                name = write.claim.name
                before, aside = self.holdings.named(name), self.quarantined.pop(name, None)
                self.holdings.put(write)
                return lambda: self._take_back(name, before, aside)
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

    def _take_back(self, name: str, before: AdmittedClaim | None, aside: Quarantined | None) -> None:
        # The configuration may have changed since: mend the present index.
        if before is None:
            self.holdings.drop(name)
        else:
            self.holdings.put(before)
        if aside is not None:
            self.quarantined[name] = aside

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
