"""An import policy as an in-filter of the library: it is asked before a path enters the table. Pure."""

from __future__ import annotations

from ipaddress import IPv4Network
from itertools import islice
from typing import Any

from routerd.model.session import ImportPolicy
from routerd_bgp_ryu.admission import NOT_OWNED, TOO_MANY, refusal

Library = Any  # Any: the libraries ship no types

_DENY, _PERMIT = 0, 1


class ImportFilter:
    """Remembers what it let in and why it refused the rest, so that what is told is what was done.

    Who came first keeps its place below the policy's maximum. What has no place waits for one.
    """

    def __init__(self, policy: ImportPolicy, family: Library, before: ImportFilter | None = None) -> None:
        self.policy = policy
        self.prefix = "import policy"
        self.ROUTE_FAMILY = family
        self._accepted: dict[str, None] = {}
        self._refused: dict[str, str] = {}
        self._waiting: dict[str, None] = {}
        for prefix in before._accepted if before is not None else ():  # noqa: SLF001 - of the same class
            if len(self._accepted) < policy.max_prefixes and refusal(IPv4Network(prefix), policy) is None:
                self._accepted[prefix] = None

    def evaluate(self, path: Library) -> tuple[int, bool]:
        """Return the library's verdict on a path; every path is matched, so nothing slips through."""
        prefix = path.nlri.formatted_nlri_str
        if path.is_withdraw:
            self._refused.pop(prefix, None)
            self._waiting.pop(prefix, None)
            permitted = prefix in self._accepted
            self._accepted.pop(prefix, None)
        else:
            permitted = self._admit(prefix)
        return (_PERMIT if permitted else _DENY), True

    def _admit(self, prefix: str) -> bool:
        reason = refusal(IPv4Network(prefix), self.policy)
        if reason is None and prefix not in self._accepted and not self.room:
            reason = TOO_MANY
        if reason is None:
            self._accepted[prefix] = None
            self._refused.pop(prefix, None)
            self._waiting.pop(prefix, None)
            return True
        self._accepted.pop(prefix, None)
        self._refused[prefix] = reason
        if reason == TOO_MANY:
            self._waiting[prefix] = None
        return False

    @property
    def room(self) -> int:
        """Return how many prefixes may still enter."""
        return max(0, self.policy.max_prefixes - len(self._accepted))

    def reason(self, prefix: str) -> str:
        """Return the reason code with which a prefix was refused."""
        return self._refused.get(prefix, NOT_OWNED)

    def waiting(self) -> list[str]:
        """Return the prefixes that only lack a place, as far as there is room now."""
        return list(islice(self._waiting, self.room))

    def clone(self) -> ImportFilter:
        """Return a copy with what was let in, as the library wants it."""
        return ImportFilter(self.policy, self.ROUTE_FAMILY, self)
