"""Decisions on claims, written down: in memory at once, on the disk before the leaf gets an answer.

Many decisions share one `fsync`. Refusals of one second are folded, so that a client that is
refused again and again does not fill the disk.
"""

import asyncio
import contextlib
from collections.abc import Callable

import attrs

from routerd.admission.holdings import Holdings
from routerd.admission.memory import Memory
from routerd.control.ports import Source
from routerd.errors import EnrollmentRefused, StoreError
from routerd.model.claim import AdmittedClaim, Claim
from routerd.model.intent import Intent
from routerd.model.report.claims import AuditEntry, Decision
from routerd.spi import Clock, Logger
from routerd.store.admission import AdmissionBook
from routerd.store.group_commit import GroupCommit
from routerd.store.records import UsedNonce, Write

LONGEST_MESSAGE = 400
FLUSH_SECONDS = 1.0
MOST_AT_ONCE = 200
"""Different refusals of one second that are kept apart."""


class Decisions:
    """`memory` has every decision at once; `admitted` only those that are on the disk.

    `on_change` gets them after each change. Raises `StoreError` when the state
    cannot be read.
    """

    def __init__(
        self,
        book: AdmissionBook,
        intent: Intent,
        *,
        clock: Clock,
        log: Logger,
        on_change: Callable[[tuple[AdmittedClaim, ...]], None],
    ) -> None:
        self._book = book
        self._clock = clock
        self._log = log
        self._on_change = on_change
        self.memory = Memory(book.load(), intent, clock.now())
        self._shown = self._snapshot()
        self._begun = self._shown
        # Nonces of decisions that wait for the disk, and of those on their way; the store has all others.
        self._nonces: dict[tuple[str, str], UsedNonce] = {}
        self._nonces_begun: dict[tuple[str, str], UsedNonce] = {}
        self._commits = GroupCommit(
            book.commit, on_begin=self._on_begin, on_done=self._on_done, on_fail=self._on_fail
        )
        self._refusals: dict[tuple[str, str, str], AuditEntry] = {}
        self._flushing: asyncio.Task[None] | None = None
        for found in self.memory.quarantined.values():
            log.error("claim.quarantined", claim=found.name, reason=found.reason)

    def admitted(self) -> tuple[AdmittedClaim, ...]:
        """Return the claims that are on the disk, ended ones too; the same tuple until one changes."""
        return self._shown[2]

    def used_nonce(self, policy: str, nonce: str) -> UsedNonce | None:
        """Return the use of a nonce under a policy, or none when no leaf has used it."""
        key = (policy, nonce)
        return self._nonces.get(key) or self._nonces_begun.get(key) or self._book.used_nonce(policy, nonce)

    def write(self, *writes: Write) -> asyncio.Future[None]:
        """Take in decisions that belong together and queue them for the disk.

        The write goes on when the caller stops waiting: half a decision is not a decision.
        """
        for write in writes:
            if isinstance(write, UsedNonce):
                self._nonces[write.policy, write.nonce] = write
        return self._commits.put(writes, [self.memory.apply(write) for write in writes])

    async def settled(self) -> None:
        """Return when everything that was decided before is on the disk; a `StoreError` when it is not."""
        await self._commits.settled()

    def note(
        self, decision: Decision, claim: Claim, source: Source | None, *, reason: str = "", message: str = ""
    ) -> AuditEntry:
        """Return the entry of the audit trail for a decision."""
        return AuditEntry(
            at=self._clock.now(),
            decision=decision,
            claim=claim.name,
            leaf_id=claim.leaf_id,
            policy=claim.policy,
            source=str(source) if source is not None else "",
            reason=reason,
            message=message,
        )

    async def audit(self, limit: int, claim: str | None) -> tuple[AuditEntry, ...]:
        """Return the latest `limit` decisions, oldest first; of one claim or of all."""
        self._flush()
        with contextlib.suppress(StoreError):
            await self._commits.settled()
        return await asyncio.to_thread(self._book.audit, limit, claim)

    async def aclose(self) -> None:
        """Write down what is held, and wait for what is on its way to the disk."""
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.gather(self._flushing, return_exceptions=True)
        self._flush()
        await self._commits.aclose()

    # --- refusals ----------------------------------------------------------------------------------

    def refuse(
        self, error: EnrollmentRefused, claim: Claim | None, source: Source | None
    ) -> EnrollmentRefused:
        """Note a refusal and return it as the client gets it.

        It is written down within a second, and lost when the process is killed before.
        """
        message = str(error)[:LONGEST_MESSAGE]
        if error.reason != "approval-pending":
            self._log.warning("claim.refused", reason=error.reason, error=message, source=str(source))
            entry = AuditEntry(
                at=self._clock.now(),
                decision="refused",
                claim=_printable(claim.name) if claim is not None else "",
                leaf_id=_printable(claim.leaf_id) if claim is not None else "",
                policy=_printable(claim.policy) if claim is not None else "",
                source=str(source) if source is not None else "",
                reason=error.reason,
                message=message,
            )
            self._fold(entry)
        return EnrollmentRefused(error.reason, message)

    def _fold(self, entry: AuditEntry) -> None:
        key = (entry.source, entry.claim, entry.reason)
        if key not in self._refusals and len(self._refusals) >= MOST_AT_ONCE:
            key = ("", "", "too-many")
            entry = AuditEntry(
                at=entry.at, decision="refused", claim="", reason="too-many", message="further refusals"
            )
        known = self._refusals.get(key)
        self._refusals[key] = entry if known is None else attrs.evolve(known, count=known.count + 1)
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush_later(), name="audit of refusals")

    async def _flush_later(self) -> None:
        await self._clock.sleep(FLUSH_SECONDS)
        self._flush()

    def _flush(self) -> None:
        held, self._refusals = self._refusals, {}
        if held:
            # The trail of refusals is worth no waiting; GroupCommit itself looks after the write.
            _ = self._commits.put(list(held.values()))

    # --- memory and disk in step -------------------------------------------------------------------

    def _snapshot(self) -> tuple[Holdings, int, tuple[AdmittedClaim, ...]]:
        holdings = self.memory.holdings
        return holdings, holdings.version, holdings.all()

    def _on_begin(self) -> None:
        self._nonces_begun, self._nonces = self._nonces, {}
        holdings, version, _ = self._shown
        if holdings is not self.memory.holdings or version != holdings.version:
            self._begun = self._snapshot()

    def _on_fail(self) -> None:
        self._nonces_begun, self._nonces = {}, {}

    def _on_done(self) -> None:
        self._nonces_begun = {}
        if self._begun is not self._shown:
            self._shown = self._begun
            self._on_change(self._shown[2])


def _printable(text: str) -> str:
    """Return what a stranger sent as at most 64 printable characters."""
    return "".join(c if c.isprintable() else "?" for c in text[:64])
