"""An import policy as an in-filter of the library: it is asked before a path enters the table. Pure."""

from __future__ import annotations

from ipaddress import IPv4Network
from itertools import islice
from typing import Any

from routerd.model.session import ImportPolicy
from routerd_bgp_ryu.import_policy import NOT_OWNED, TOO_MANY, refusal
from routerd_bgp_ryu.screen.attributes import COMMUNITIES

Library = Any  # Any: the libraries ship no types

_DENY, _PERMIT = 0, 1


def communities_of(path: Library) -> frozenset[str]:
    """Return the communities (RFC 1997) that a path of the library carries, in the form `64512:100`."""
    carried = path.get_pattr(COMMUNITIES)
    numbers = carried.communities if carried is not None else ()
    return frozenset(f"{number >> 16}:{number & 0xFFFF}" for number in numbers)


def _reason(path: Library, policy: ImportPolicy) -> str | None:
    # A path may carry a thousand communities: they are not written out for who asks for none.
    asks = policy.required_communities or policy.forbidden_communities
    prefix = IPv4Network(path.nlri.formatted_nlri_str)
    return refusal(prefix, policy, communities_of(path) if asks else frozenset())


class ImportFilter:
    """Remembers what it let in and why it refused the rest, so that what is told is what was done.

    Who came first keeps its place below the policy's maximum. What has no place waits for one.
    """

    def __init__(self, policy: ImportPolicy, family: Library, before: ImportFilter | None = None) -> None:
        self.policy = policy
        self.prefix = "import policy"
        self.ROUTE_FAMILY = family
        self._accepted: dict[str, Library] = {}
        self._refused: dict[str, str] = {}
        self._waiting: dict[str, None] = {}
        for prefix, path in before._accepted.items() if before is not None else ():  # noqa: SLF001 - of the same class
            if len(self._accepted) < policy.max_prefixes and _reason(path, policy) is None:
                self._accepted[prefix] = path

    def evaluate(self, path: Library) -> tuple[int, bool]:
        """Return the library's verdict on a path; every path is matched, so nothing slips through."""
        prefix = path.nlri.formatted_nlri_str
        if path.is_withdraw:
            self._refused.pop(prefix, None)
            self._waiting.pop(prefix, None)
            permitted = prefix in self._accepted
            self._accepted.pop(prefix, None)
        else:
            permitted = self._admit(prefix, path)
        return (_PERMIT if permitted else _DENY), True

    def _admit(self, prefix: str, path: Library) -> bool:
        reason = _reason(path, self.policy)
        if reason is None and prefix not in self._accepted and not self.room:
            reason = TOO_MANY
        if reason is None:
            self._accepted[prefix] = path
            self._refused.pop(prefix, None)
        else:
            self._accepted.pop(prefix, None)
            self._refused[prefix] = reason
        if reason == TOO_MANY:
            self._waiting[prefix] = None
        else:
            self._waiting.pop(prefix, None)
        return reason is None

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
