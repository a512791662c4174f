"""Failures on purpose: the nth call fails, for every n."""

from __future__ import annotations

from collections.abc import Iterator

from routerd.errors import ProviderError, TransientError

_SWEEP_LIMIT = 1000


class FaultPlan:
    """Counts calls and fails one of them; 0 fails none.

    A fake calls `reach("name")` at every point at which the real thing can fail.

    Added in 1.0.
    """

    def __init__(self, fail_at: int = 0, error: ProviderError | None = None) -> None:
        self.fail_at = fail_at
        self.error = error or TransientError(f"planned failure of call {fail_at}")
        self.calls: list[str] = []

    @property
    def fired(self) -> bool:
        """Say whether the plan has failed a call."""
        return 0 < self.fail_at <= len(self.calls)

    def reach(self, name: str) -> None:
        """Count the call `name`; raises the planned error when it is the nth."""
        self.calls.append(name)
        if len(self.calls) == self.fail_at:
            raise self.error


def every_fault(error: ProviderError | None = None) -> Iterator[FaultPlan]:
    """Yield plans that fail the first call, the second, and so on, until one plan does not fire.

    The last plan does not fire, so the loop's body runs undisturbed with it. A body that still fires
    after a thousand plans raises `RuntimeError`, for it would not end.

    Added in 1.0.
    """
    for number in range(1, _SWEEP_LIMIT + 1):
        plan = FaultPlan(number, error)
        yield plan
        if not plan.fired:
            return
    raise RuntimeError(
        f"still failing after {_SWEEP_LIMIT} calls; does the code under test retry without end?"
    )
