"""The join tokens of a policy, read again every second or so: a token is changed without a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import attrs

from routerd.errors import ConfigError
from routerd.model.specs import SAMEnrollmentPolicySpec, SecretSource
from routerd.runtime import secrets
from routerd.spi import Clock

FRESH_SECONDS = 1.0


@attrs.frozen(kw_only=True)
class Tokens:
    """The tokens that hold now, and why others cannot be read."""

    secrets: tuple[str, ...] = attrs.field(repr=False)
    errors: tuple[str, ...] = ()


class JoinTokens:
    """Reads tokens in a thread, because a file may be on a disk that does not answer."""

    def __init__(self, *, clock: Clock, resolve: Callable[[SecretSource], str] = secrets.resolve) -> None:
        self._clock = clock
        self._resolve = resolve
        self._known: dict[SecretSource, tuple[float, str | ConfigError]] = {}

    async def of(self, policy: SAMEnrollmentPolicySpec) -> Tokens | None:
        """Return the policy's tokens, the one of `joinTokenFrom` first; none when it has none."""
        sources = sources_of(policy)
        if not sources:
            return None
        found = [await self._read(source) for source in sources]
        return Tokens(
            secrets=tuple(each for each in found if isinstance(each, str)),
            errors=tuple(str(each) for each in found if isinstance(each, ConfigError)),
        )

    async def _read(self, source: SecretSource) -> str | ConfigError:
        now = self._clock.monotonic()
        known = self._known.get(source)
        if known is not None and now - known[0] < FRESH_SECONDS:
            return known[1]
        try:
            found: str | ConfigError = await asyncio.to_thread(self._resolve, source)
        except ConfigError as error:
            found = error
        self._known[source] = (now, found)
        return found


def sources_of(policy: SAMEnrollmentPolicySpec) -> tuple[SecretSource, ...]:
    """Return where the policy's tokens are."""
    first = (policy.join_token_from,) if policy.join_token_from is not None else ()
    return (*first, *policy.join_tokens_from)
