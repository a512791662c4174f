"""The rate at which a plugin may call an API that the whole account shares."""

from typing import Protocol


class Pacer(Protocol):
    """A token bucket: each call takes one token, and tokens come back at a steady rate."""

    async def take(self) -> None:
        """Return when one more call may be made."""

    def hold(self, seconds: float) -> None:
        """Block all calls for `seconds`, after the API has refused one as too many."""


class Pacing(Protocol):
    """Gives each account its pacer; all providers of a plugin that name the account share it."""

    def __call__(self, account: str, *, rate: float, burst: int) -> Pacer:
        """Return the pacer of `account`: `burst` calls at once, then `rate` calls a second.

        The first call for an account sets the figures.
        """
