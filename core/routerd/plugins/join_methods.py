"""The join methods of the enabled plugins, each call with a deadline and a name for its failure.

Whatever a method raises, and however long it takes, stays with the call that asked it.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeVar, cast

import attrs

from routerd.errors import EnrollmentRefused, JoinMethodFailed, ProviderError, words_of
from routerd.reconcile.guard import Failed, outcome_of
from routerd.spi import MAX_PROOF, Enrollment, JoinMethod, Lifecycle, Logger, Proof, Signing, Submission

T = TypeVar("T")

DEADLINE = 5.0
"""Maximum seconds of one call."""

START_DEADLINE = 50.0
CLOSE_DEADLINE = 8.0

MOST_DEAF = 16
"""Maximum calls of one method that ignore their cancellation before routerd asks it no more."""

LONGEST_SIGNER = 256

_GRACE = 0.05
"""Seconds that a cancelled call has to end; the leaf is still waiting for its answer."""

_CODE = re.compile(r"[a-z][a-z0-9-]{0,63}\Z", re.ASCII)


@attrs.frozen(kw_only=True)
class MadeMethod:
    """A join method as its plugin made it."""

    plugin: str
    described: JoinMethod
    provider: Enrollment


class JoinMethods:
    """The join methods by kind.

    `options` are the `joinOptions` of policies and clients by their reference. Every failure is a
    `JoinMethodFailed`, in the log when it is another one than before, and in `troubles` until the same
    call answers.
    """

    def __init__(
        self,
        made: Mapping[str, MadeMethod],
        *,
        log: Logger,
        options: Mapping[str, object] | None = None,
        deadline: float = DEADLINE,
    ) -> None:
        self._log = log
        self._deadline = deadline
        self._contained: dict[str, _Contained] = {}
        for kind, method in made.items():
            self.put(kind, method)
        self._options = options or {}

    def put(self, kind: str, method: MadeMethod) -> None:
        """Use a method from now on; the caller starts it, and has closed the one before."""
        self._contained[kind] = _Contained(method, log=self._log, deadline=self._deadline)

    def use(self, options: Mapping[str, object]) -> None:
        """Use the `joinOptions` of another configuration from the next call on."""
        self._options = options

    def options(self, ref: str) -> object:
        """Return the `joinOptions` of a policy or client."""
        return self._options.get(ref)

    def described(self, kind: str) -> JoinMethod:
        """Return the description of a method; `JoinMethodFailed` when no enabled plugin provides it."""
        return self._get(kind).method.described

    async def verify(self, kind: str, submission: Submission) -> None:
        """Check a proof; raises `EnrollmentRefused` when it does not hold."""
        await self._get(kind).verify(submission)

    async def sign(self, kind: str, signing: Signing) -> Proof:
        """Return a proof of a claim, of the sort that the method declares."""
        return await self._get(kind).sign(signing)

    async def signer(self, kind: str, signing: Signing) -> str:
        """Return what identifies the method's key, with the method's name."""
        return f"{kind} {await self._get(kind).signer(signing)}"

    def lifecycles(self) -> Mapping[str, Lifecycle]:
        """Return the methods by kind, to be started and closed."""
        return self._contained

    def troubles(self) -> list[str]:
        """Return the latest failures that no later answer has made good, as messages."""
        return [text for kind in sorted(self._contained) for text in self._contained[kind].troubles()]

    def _get(self, kind: str) -> "_Contained":
        found = self._contained.get(kind)
        if found is None:
            known = ", ".join(sorted(self._contained)) or "none"
            raise JoinMethodFailed(
                f"join method {kind}: no enabled plugin provides it (provided: {known}); add its plugin"
            )
        return found


class _Contained:
    """One method; implements `spi.Lifecycle` by it."""

    def __init__(self, method: MadeMethod, *, log: Logger, deadline: float) -> None:
        self.method = method
        self._log = log
        self._deadline = deadline
        self._ready = asyncio.Event()
        self._deaf: set[asyncio.Task[Any]] = set()  # Any: of every call
        self._troubles: dict[str, str] = {}

    @property
    def _who(self) -> str:
        return f"join method {self.method.described.kind} (plugin {self.method.plugin})"

    def troubles(self) -> list[str]:
        return list(self._troubles.values())

    async def start(self) -> None:
        """Start the method; `JoinMethodFailed` when it does not start."""
        await self._call("start", self.method.provider.start, START_DEADLINE)
        self._ready.set()

    async def aclose(self) -> None:
        """Close the method; `JoinMethodFailed` when it does not close."""
        self._ready.clear()
        await self._call("aclose", self.method.provider.aclose, CLOSE_DEADLINE)

    async def verify(self, submission: Submission) -> None:
        begin = cast("Callable[[], Awaitable[object]]", partial(self.method.provider.verify, submission))
        answer = await self._ask("verify", begin)
        if answer is not None:
            raise self._failed("verify", f"it returned {_shown(answer)} instead of nothing")

    async def sign(self, signing: Signing) -> Proof:
        proof = await self._ask("sign", lambda: self.method.provider.sign(signing))
        if wrong := _wrong_proof(proof, self.method.described):
            raise self._failed("sign", wrong)
        return proof

    async def signer(self, signing: Signing) -> str:
        found: object = await self._ask("signer", lambda: self.method.provider.signer(signing))
        if not isinstance(found, str) or not found.isprintable() or len(found) > LONGEST_SIGNER:
            raise self._failed(
                "signer", f"it returned {_shown(found)}, not at most {LONGEST_SIGNER} printable characters"
            )
        return found

    async def _ask(self, call: str, begin: Callable[[], Awaitable[T]]) -> T:
        if not self._ready.is_set():
            await self._wait_for_start()
        return await self._call(call, begin, self._deadline)

    async def _wait_for_start(self) -> None:
        """Return when the method has started; a daemon starts its methods while leaves already ask."""
        if why := self._troubles.get("start"):
            raise JoinMethodFailed(why)
        try:
            async with asyncio.timeout(self._deadline):
                await self._ready.wait()
        except TimeoutError:
            raise JoinMethodFailed(f"{self._who}: has not started yet; will retry") from None

    async def _call(self, call: str, begin: Callable[[], Awaitable[T]], deadline: float) -> T:
        """Return what a call returns within `deadline` seconds; one that is deaf to it is left behind."""
        if len(self._deaf) >= MOST_DEAF:
            raise self._failed(call, f"{MOST_DEAF} earlier calls do not end; restart routerd")
        found = await outcome_of(
            begin, name=f"{self._who}: {call}", deadline=deadline, grace=_GRACE, left=self._deaf
        )
        if not isinstance(found, Failed):
            self._troubles.pop(call, None)
            return found
        if found.error is None:
            raise self._failed(call, f"no answer within {deadline:g} s")
        raise self._raised(call, found.error) from found.error

    def _raised(self, call: str, error: BaseException) -> Exception:
        if isinstance(error, EnrollmentRefused) and call == "verify":
            reason: object = error.reason
            if isinstance(reason, str) and _CODE.match(reason):
                self._troubles.pop(call, None)
                return error
            return self._failed(call, f"it refused with {_shown(reason)}, which is not a reason code")
        if isinstance(error, ProviderError):
            return self._failed(call, str(error))
        return self._failed(call, words_of(error))

    def _failed(self, call: str, words: str) -> JoinMethodFailed:
        text = f"{self._who}: {call} failed: {words}"
        if self._troubles.get(call) != text:
            self._log.error(
                "join.method.failed",
                method=self.method.described.kind,
                plugin=self.method.plugin,
                call=call,
                error=words,
            )
        self._troubles[call] = text
        return JoinMethodFailed(text)


def _wrong_proof(proof: object, described: JoinMethod) -> str:
    if not isinstance(proof, Proof):
        return f"it returned {_shown(proof)}, not a Proof"
    if described.sam_proof and (not proof.join_hmac or proof.text):
        return "its proof is not joinHMAC, which sam_proof promises"
    if not described.sam_proof and (proof.join_hmac or not proof.text):
        return "its proof has no document; only a method with sam_proof fills joinHMAC"
    return f"its proof is larger than {MAX_PROOF} bytes" if len(proof.text) > MAX_PROOF else ""


def _shown(value: object) -> str:
    """Return a value of a plugin in a few printable characters; its own text may raise, or hold a secret."""
    return f'"{value[:40]!a}"' if isinstance(value, str) else f"a {type(value).__name__}"
