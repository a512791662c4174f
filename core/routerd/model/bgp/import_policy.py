"""Whether an import policy lets a path in, and what it makes of it. Pure.

The speaker asks before a path enters its table; `routerd explain` asks what would become of a prefix.
"""

from collections.abc import Set as AbstractSet

from routerd.model.addresses import IPNetwork
from routerd.model.session import ImportPolicy, range_of

NOT_A_HOST = "not-exact-host-prefix"
NOT_OWNED = "prefix-not-owned-by-claim"
OUTSIDE = "prefix-outside-import-policy"
FORBIDDEN = "forbidden-prefix"
TOO_MANY = "max-prefixes-exceeded"
FORBIDDEN_COMMUNITY = "forbidden-community"
MISSING_COMMUNITY = "missing-required-community"
FAMILY = "address-family-unsupported"
"""The reason of the core for a path with an IPv6 prefix or next hop, which it cannot install yet."""


def refusal(prefix: IPNetwork, policy: ImportPolicy, communities: AbstractSet[str]) -> str | None:
    """Return the reason code for refusing a path, or none when it may enter.

    `communities` are those of the path (RFC 1997), in the form `64512:100`. The prefix counts first: the
    communities of a path do not open the policy for a prefix that the neighbour may not announce.
    """
    first, last = range_of(prefix)
    if any(first <= end and begin <= last for begin, end in policy.ranges_forbidden):
        return FORBIDDEN
    length = prefix.prefixlen - (prefix.max_prefixlen - 32)
    fits = prefix in policy.hosts or (
        policy.min_length <= length <= policy.max_length
        and any(begin <= first and last <= end for begin, end in policy.ranges_within)
    )
    if not fits and policy.within:
        return OUTSIDE
    if not fits:
        return NOT_OWNED if prefix.prefixlen == prefix.max_prefixlen else NOT_A_HOST
    if not policy.forbidden_communities.isdisjoint(communities):
        return FORBIDDEN_COMMUNITY
    return None if policy.required_communities <= communities else MISSING_COMMUNITY


def asks_for_communities(policy: ImportPolicy) -> bool:
    """Say whether the communities of a path matter to a policy."""
    return bool(policy.required_communities or policy.forbidden_communities)
