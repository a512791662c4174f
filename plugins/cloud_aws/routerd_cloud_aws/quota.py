"""How many routes a table may hold: by the option, by Service Quotas, or assumed."""

from __future__ import annotations

from typing import Protocol

import attrs

from routerd.errors import ProviderError
from routerd.spi import Clock

SERVICE = "vpc"
CODE = "L-93826ACB"
"""The quota "Routes per route table": 500 by default, 50 until June 2025, 1000 at most."""

ASSUMED = 50
"""What a table surely holds, where nobody says how many."""

ASK_AGAIN_SECONDS = 600.0


@attrs.frozen(kw_only=True)
class Quota:
    """The most routes of a table; `doubt` says why the number is assumed, where it is."""

    limit: int
    doubt: str = ""


class Quotas(Protocol):
    """What is asked of Service Quotas."""

    async def route_quota(self) -> int:
        """GetServiceQuota; raises `ProviderError`."""
        ...


class RouteQuota:
    """The quota as it is known: asked for once, and again only while a table is full."""

    def __init__(self, clock: Clock, option: int | None) -> None:
        self._clock = clock
        self._asked: float | None = None
        self._short = False
        self._settled = option is not None
        self.known = Quota(limit=option) if option is not None else _assumed("nobody was asked yet")

    async def learn(self, quotas: Quotas) -> None:
        """Ask if that is due; without an answer the number stays as it was, or assumed."""
        now = self._clock.monotonic()
        due = self._asked is None or (self._short and now - self._asked >= ASK_AGAIN_SECONDS)
        if self._settled or not due:
            return
        self._asked, self._short = now, False
        try:
            self.known = Quota(limit=await quotas.route_quota())
        except ProviderError as error:
            if self.known.doubt:
                self.known = _assumed(str(error))

    def note_short(self) -> None:
        """Note that a route was refused: somebody may have the quota raised."""
        self._short = True


def _assumed(why: str) -> Quota:
    return Quota(limit=ASSUMED, doubt=why)
