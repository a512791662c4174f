"""How often a plugin may call an API that others of the account call too."""

from __future__ import annotations

from typing import Protocol


class Pacer(Protocol):
    """A token bucket: each call takes one token, and tokens come back at a steady rate."""

    async def take(self) -> None:
        """Return when one more call may be made."""
        ...

    def hold(self, seconds: float) -> None:
        """Let nobody make a call for `seconds`: the API said that there were too many."""
        ...


class Pacing(Protocol):
    """Gives the pacer of an account, the same one to every provider of the plugin that names it."""

    def __call__(self, account: str, *, rate: float, burst: int) -> Pacer:
        """Return the pacer of `account`: `burst` calls at once, then `rate` calls a second.

        The first who asks for an account sets the figures.
        """
        ...
