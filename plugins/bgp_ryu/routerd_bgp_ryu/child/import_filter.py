"""An import policy as an in-filter of the library, which asks it before a path enters the table. Pure."""

from ipaddress import IPv4Network
from itertools import islice

from routerd.model.bgp.import_policy import NOT_OWNED, TOO_MANY, asks_for_communities, refusal
from routerd.model.session import ImportPolicy
from routerd_bgp_ryu.child.osken import Library
from routerd_bgp_ryu.screen.attributes import COMMUNITIES

_DENY, _PERMIT = 0, 1


def communities_of(path: Library) -> frozenset[str]:
    """Return the communities (RFC 1997) that a path of the library carries, in the form `64512:100`."""
    carried = path.get_pattr(COMMUNITIES)
    numbers = carried.communities if carried is not None else ()
    return frozenset(f"{number >> 16}:{number & 0xFFFF}" for number in numbers)


def refusal_of(path: Library, policy: ImportPolicy) -> str | None:
    """Return the reason code for refusing a path of the library, or none."""
    # A path may carry a thousand communities. Only a policy that asks for them needs their text.
    communities = communities_of(path) if asks_for_communities(policy) else frozenset()
    return refusal(IPv4Network(path.nlri.formatted_nlri_str), policy, communities)


class ImportFilter:
    """Remembers the paths that it let in, and why it refused the others, for the status.

    The first paths keep their places below the policy's maximum. A path without a place waits for one.
    """

    def __init__(self, policy: ImportPolicy, family: Library, before: "ImportFilter | None" = None) -> None:
        self.policy = policy
        self.prefix = "import policy"
        self.ROUTE_FAMILY = family
        self._accepted: dict[str, Library] = {}
        self._refused: dict[str, str] = {}
        self._waiting: dict[str, None] = {}
        for prefix, path in before._accepted.items() if before is not None else ():  # noqa: SLF001 - of the same class
            if len(self._accepted) < policy.max_prefixes and refusal_of(path, policy) is None:
                self._accepted[prefix] = path

    def evaluate(self, path: Library) -> tuple[int, bool]:
        """Return the library's verdict on a path; the filter matches every path, and none slips through."""
        prefix = path.nlri.formatted_nlri_str
        self._refused.pop(prefix, None)
        if path.is_withdraw:
            self._waiting.pop(prefix, None)
            return _DENY if self._accepted.pop(prefix, None) is None else _PERMIT, True
        reason = refusal_of(path, self.policy)
        if reason is None and prefix not in self._accepted and not self.room:
            reason = TOO_MANY
        if reason is None:
            self._accepted[prefix] = path
        else:
            self._accepted.pop(prefix, None)
            self._refused[prefix] = reason
        if reason != TOO_MANY:
            self._waiting.pop(prefix, None)
        else:
            self._waiting[prefix] = None
        return _PERMIT if reason is None else _DENY, True

    @property
    def room(self) -> int:
        """Return how many prefixes may still enter."""
        return max(0, self.policy.max_prefixes - len(self._accepted))

    def reason(self, prefix: str) -> str:
        """Return the reason code with which a prefix was refused."""
        return self._refused.get(prefix, NOT_OWNED)

    def waiting(self) -> list[str]:
        """Return the prefixes that wait for a place, as many as have room now."""
        return list(islice(self._waiting, self.room))

    def clone(self) -> "ImportFilter":
        """Return a copy with the same paths, which the library asks for."""
        return ImportFilter(self.policy, self.ROUTE_FAMILY, self)
