"""The join tokens of a policy, read at the moment of use."""

import asyncio
from collections.abc import Callable, Sequence

import attrs

from routerd.config import secrets
from routerd.errors import ConfigError
from routerd.model.intent import Named
from routerd.model.specs import SAMEnrollmentPolicySpec, SecretSource
from routerd.spi import Clock

FRESH_SECONDS = 1.0
"""Seconds after which a token is read again, so that a token changes without a restart."""


@attrs.frozen(kw_only=True)
class Tokens:
    """The tokens that hold now, and why others cannot be read."""

    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)
    errors: tuple[str, ...] = ()


class JoinTokens:
    """Reads tokens in a thread, because a file may be on a disk that does not answer."""

    def __init__(self, *, clock: Clock, resolve: Callable[[SecretSource], str] = secrets.resolve) -> None:
        self._clock = clock
        self._resolve = resolve
        self._known: dict[str, tuple[SAMEnrollmentPolicySpec, float, Tokens]] = {}

    async def of(self, policy: Named[SAMEnrollmentPolicySpec]) -> Tokens:
        """Return the policy's tokens, the one of `joinTokenFrom` first."""
        now = self._clock.monotonic()
        known = self._known.get(policy.name)
        if known is not None and known[0] is policy.spec and now - known[1] < FRESH_SECONDS:
            return known[2]
        sources = sources_of(policy.spec)
        found = await asyncio.to_thread(self._read, sources) if sources else Tokens()
        self._known[policy.name] = (policy.spec, now, found)
        return found

    def _read(self, sources: Sequence[SecretSource]) -> Tokens:
        held, errors = [], []
        for source in sources:
            try:
                held.append(self._resolve(source))
            except ConfigError as error:
                errors.append(str(error))
        return Tokens(secrets=tuple(held), errors=tuple(errors))


def sources_of(policy: SAMEnrollmentPolicySpec) -> tuple[SecretSource, ...]:
    """Return where the policy's tokens are."""
    first = (policy.join_token_from,) if policy.join_token_from is not None else ()
    return (*first, *policy.join_tokens_from)
