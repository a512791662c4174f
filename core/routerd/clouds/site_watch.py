"""Follows whether this leaf is the active one of its site, and wakes the clouds when that changes."""

import asyncio
from collections.abc import Callable

import attrs

from routerd.clouds.takeover import Election, share
from routerd.model.intent import Intent
from routerd.model.resource import Condition
from routerd.model.specs import CloudProviderProfileSpec
from routerd.process.log import Log
from routerd.reconcile.derive import Inputs
from routerd.reconcile.desired import Desired
from routerd.spi import Clock
from routerd.spi.backoff import pause


class SiteWatch:
    """Holds the election of this leaf; `reread` makes the lane of a table observe it soon."""

    def __init__(self, *, clock: Clock, log: Log, reread: Callable[[str], None]) -> None:
        self.election = Election()
        self._clock = clock
        self._log = log
        self._reread = reread
        self._heard = asyncio.Event()
        self._said: str | None = None

    def hear(self, inputs: Inputs) -> None:
        """Take note of the inputs of the moment."""
        self.election.note(share(inputs), inputs.learned, self._clock.monotonic())
        self._heard.set()

    def restart(self) -> None:
        """Restart the hold-down."""
        self.election.restart()
        self._heard.set()

    async def run(self, intent: Callable[[], Intent]) -> None:
        """Wake the lane of each cloud when this leaf's place changes, and when its hold-down ends."""
        before: dict[str, tuple[bool, str]] = {}
        while True:
            self._heard.clear()
            now = self._clock.monotonic()
            ends: list[float] = []
            for name, hold_down in _hold_downs(intent()).items():
                place = self.election.active(hold_down, now), self.election.standing.state
                if before.get(name) != place:
                    before[name] = place
                    self._reread(f"routes/{name}")
                end = self.election.ends(hold_down)
                if end is not None and end > now:
                    ends.append(end)
            self._say(self._note(min(_hold_downs(intent()).values(), default=0.0)))
            await pause(self._clock, max(0.01, min(ends) - now) if ends else None, self._heard)

    def _note(self, hold_down: float) -> Condition | None:
        return self.election.condition(hold_down, self._clock.monotonic())

    def _say(self, note: Condition | None) -> None:
        words = note.message if note is not None else None
        if words is not None and words != self._said:
            self._log.info("site.standing", standing=words)
        self._said = words

    def noted(self, desired: Desired, intent: Intent) -> Desired:
        """Return the desired state with a note of the active leaf at each cloud, or at our claim."""
        mine = self.election.share
        if mine is None:
            return desired
        places = {f"CloudProviderProfile/{name}": hold for name, hold in _hold_downs(intent).items()}
        conditions = dict(desired.conditions)
        for ref, hold_down in (places or {mine.ref: 0.0}).items():
            note = self._note(hold_down)
            if note is not None:
                conditions[ref] = (*conditions.get(ref, ()), note)
        return attrs.evolve(desired, conditions=conditions)


def _hold_downs(intent: Intent) -> dict[str, float]:
    """Return the seconds that this leaf must lead before it writes, for each cloud."""
    profiles = intent.of(CloudProviderProfileSpec)
    return {found.name: found.spec.takeover_hold_down.total_seconds() for found in profiles}
