"""Every exception that routerd raises on purpose, and who has to act on it.

`ConfigError` and `PluginError` are for the operator (exit status 2, HTTP 4xx); they stop
nothing that runs. `ProviderError` and its subclasses are for the reconcile loop: they say
whether, and when, trying again can help. Nothing else in the tree derives from `Exception`
directly.
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
    """One mistake in a configuration file, with everything needed to mend it.

    `line` is counted from 1; 0 means that the problem has no line (a missing file). `path` is
    the dotted path of the field below the resource, such as `spec.timers.profile`.
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
    """The configuration cannot be used; carries every problem found, never only the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    @classmethod
    def single(cls, file: str, message: str, *, line: int = 0, hint: str = "") -> Self:
        """Build an error with one problem that belongs to the file as a whole."""
        return cls([Problem(file=file, line=line, resource="", path="", message=message, hint=hint)])


class PluginError(RouterdError):
    """A plugin cannot be used: unknown, broken on import, of a newer API, or in conflict."""


class EnrollmentRefused(RouterdError):
    """A claim is refused; `reason` is a stable code for programs, the text is for people."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class StoreError(RouterdError):
    """The state directory cannot be read or written."""


class ControlError(RouterdError):
    """A running daemon cannot be reached, or it refused a request."""


class ActionRefused(ControlError):
    """A change of a cloud is not approved or undone; the text says what is there and why."""


class ProviderError(RouterdError):
    """The outside world refused; the loop keeps the key pending and decides when to retry."""

    retryable: bool = True

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class TransientError(ProviderError):
    """Trying again later can help; `retry_after`, when given, is the earliest sensible time."""


class PermanentError(ProviderError):
    """Trying the same again cannot help: permissions, invalid input, a quota."""

    retryable = False


class NotOwnedError(ProviderError):
    """Something that is not ours stands in the way; it is reported and never replaced."""

    retryable = False


class UnsupportedError(ProviderError):
    """This host or this API cannot do what is asked (a missing kernel module, an old API)."""

    retryable = False
