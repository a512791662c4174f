"""What the emulated clouds have in common: the machines they hold, and failures on purpose.

An emulator is a region or subscription with `app()` (the API), `metadata(name)`, `forwarding(name)`
and `routes()`; the fabric enforces what the last two say.
"""

from __future__ import annotations

from ipaddress import IPv4Address

import attrs


@attrs.frozen(kw_only=True)
class Machine:
    """A machine to be put into a cloud network, with one NIC."""

    name: str
    address: IPv4Address
    public: IPv4Address | None = None


@attrs.frozen(kw_only=True)
class Failure:
    """An answer that an operation gives instead of doing its work; `retry_after` is in seconds."""

    status: int
    code: str
    message: str = "told to fail"
    retry_after: int | None = None


class FailurePlan:
    """Which calls fail, and a record of all calls.

    The operations have the API's own names: `CreateRoute`, `routes/write`; `*` is any of them.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._planned: dict[str, list[Failure]] = {}
        self._countdown = 0
        self._nth: Failure | None = None

    def fail_next(
        self, operation: str, *, status: int, code: str, times: int = 1, retry_after: int | None = None
    ) -> None:
        """Let the next calls of an operation fail."""
        failure = Failure(status=status, code=code, retry_after=retry_after)
        self._planned.setdefault(operation, []).extend([failure] * times)

    def fail_call(self, nth: int, *, status: int, code: str) -> None:
        """Let the nth call from now fail, whatever its operation."""
        self._countdown, self._nth = nth, Failure(status=status, code=code)

    def reach(self, operation: str) -> Failure | None:
        """Record a call and return its failure, if it shall fail."""
        self.calls.append(operation)
        self._countdown -= 1
        if self._countdown == 0:
            return self._nth
        for key in (operation, "*"):
            if self._planned.get(key):
                return self._planned[key].pop(0)
        return None
