"""Every exception that routerd raises on purpose, and who has to act on it.

`ConfigError` and `PluginError` are for the operator (exit status 2, HTTP 4xx); they stop
nothing that runs. `ProviderError` and its subclasses are for the reconcile loop: they say
whether, and when, a retry can help. No other class of the tree derives from `Exception` directly.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from typing import Self


class RouterdError(Exception):
    """The root of all errors raised on purpose."""


@attrs.frozen(order=True)
class Problem:
    """One mistake in a configuration file: its place, the message, and the remedy as `hint`.

    `line` counts from 1; 0 means that the problem has no line (a missing file). `path` is the
    dotted path of the field below the resource, such as `spec.timers.profile`.
    """

    file: str
    line: int
    resource: str
    path: str
    message: str
    hint: str = ""
    severity: str = "error"

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        what = " ".join(part for part in (self.resource, self.path) if part)
        text = ": ".join(part for part in (where, what, self.message) if part)
        return f"{text}; {self.hint}" if self.hint else text


class ConfigError(RouterdError):
    """The configuration is unusable; carries every problem found, never only the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    @classmethod
    def single(cls, file: str, message: str, *, line: int = 0, hint: str = "") -> Self:
        """Build an error with one problem that belongs to the file as a whole."""
        return cls([Problem(file=file, line=line, resource="", path="", message=message, hint=hint)])


class PluginError(RouterdError):
    """A plugin is unusable: unknown, broken on import, of a newer API, or in conflict."""


class EnrollmentRefused(RouterdError):
    """A reflector refuses a claim; `reason` is a stable code for programs, the text is for people."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class ProofMismatch(EnrollmentRefused):
    """The proof of a claim fits none of the secrets that the policy names.

    A join method raises it apart from other refusals: the proof may fit a secret that the reflector
    could not read.
    """


class StoreError(RouterdError):
    """routerd cannot read or write the state directory."""


class ControlError(RouterdError):
    """A running daemon did not answer, or refused a request."""


class ActionRefused(ControlError):
    """routerd does not approve or undo a change of a cloud; the text says what is there and why."""


class ProviderError(RouterdError):
    """The outside world refused a change; the loop keeps the key pending and decides when to retry."""

    retryable: bool = True

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class TransientError(ProviderError):
    """A retry can help; `retry_after`, when given, is the shortest sensible wait."""


class StaleError(TransientError):
    """The thing has changed since it was read, so the write was not made: read it again."""


class PermanentError(ProviderError):
    """A retry of the same change cannot help: permissions, invalid input, a quota."""

    retryable = False


class NotOwnedError(ProviderError):
    """A foreign thing is in the way; routerd reports it and never replaces it."""

    retryable = False


class SupersededError(ProviderError):
    """Our route has gone and something else is in its place, so nothing is left to change.

    Not a failure: the journal notes `superseded` with this text, and the loop counts the change as made.
    """

    retryable = False


class UnsupportedError(ProviderError):
    """This host or this API lacks the needed function (a missing kernel module, an old API)."""

    retryable = False


class JoinMethodFailed(TransientError):
    """A join method did not answer, or broke its contract; the text names it and its plugin."""

    reason = "join-method-failed"


def words_of(error: BaseException) -> str:
    """Return an exception of foreign code in words: its class and its text."""
    try:
        text = str(error).strip()
    except Exception:  # noqa: BLE001 - an exception of foreign code may have a broken text
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
