"""Facts about a neighbour beside its routes: its speaker, since when, what went wrong. Pure."""

import logging
import time
from collections import defaultdict
from collections.abc import Callable

import attrs

from routerd_bgp_ryu.identity import Identity

_LOG = logging.getLogger("routerd.bgp")


@attrs.define
class Account:
    """One neighbour's. `since` is in seconds since the epoch; `who` is the sender of the last OPEN.

    `error` is the last one in words, `refusal` the reason for refusing a wrong speaker now. `ended` is the
    NOTIFICATION that ended the session, none when the connection broke without one.
    """

    since: float = 0.0
    who: Identity | None = None
    error: str = ""
    refusal: str = ""
    ended: tuple[int, int] | None = None


class Accounts:
    """Accounts by neighbour; they call `changed` when the daemon has something new to read."""

    def __init__(self, changed: Callable[[], None], clock: Callable[[], float] = time.time) -> None:
        self._changed = changed
        self._clock = clock
        self._all: defaultdict[str, Account] = defaultdict(Account)

    def of(self, neighbour: str) -> Account:
        """Return a neighbour's account, an empty one at first."""
        return self._all[neighbour]

    def refusals(self) -> dict[str, str]:
        """Return the reason for refusing a wrong speaker, by neighbour."""
        return {neighbour: each.refusal for neighbour, each in self._all.items() if each.refusal}

    def up(self, neighbour: str, who: Identity) -> None:
        """Open a fresh account: the expected speaker has the session."""
        self._all[neighbour] = Account(since=self._clock(), who=who)

    def down(self, neighbour: str) -> Account:
        """Note when a session was lost; return its account."""
        account = self._all[neighbour]
        account.since = self._clock()
        return account

    def say(self, neighbour: str, error: str) -> None:
        """Note what went wrong last."""
        account = self._all[neighbour]
        if account.error != error:
            account.error = error
            self._changed()

    def refuse(self, neighbour: str, text: str, who: Identity | None = None) -> None:
        """Note a refused speaker, until the expected one has come or another one is expected."""
        account = self._all[neighbour]
        account.who = who or account.who
        if account.refusal != text:
            _LOG.warning("%s: %s", neighbour, text)
            account.refusal = text
            self._changed()
        self.say(neighbour, text)

    def forget_refusal(self, neighbour: str) -> None:
        """Drop a refusal: the session expects another speaker now."""
        account = self._all[neighbour]
        if account.refusal and account.error == account.refusal:
            account.error = ""
        account.refusal = ""
        self._changed()

    def drop(self, neighbour: str) -> None:
        """Forget a neighbour."""
        self._all.pop(neighbour, None)
