"""May a path come in from a neighbour, and if not, why. Pure."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from ipaddress import IPv4Network

from routerd.model.session import ImportPolicy

NOT_A_HOST = "not-exact-host-prefix"
NOT_OWNED = "prefix-not-owned-by-claim"
OUTSIDE = "prefix-outside-import-policy"
FORBIDDEN = "forbidden-prefix"
TOO_MANY = "max-prefixes-exceeded"
FORBIDDEN_COMMUNITY = "forbidden-community"
MISSING_COMMUNITY = "missing-required-community"


def refusal(prefix: IPv4Network, policy: ImportPolicy, communities: AbstractSet[str]) -> str | None:
    """Return the reason code for refusing a path, or none when it may enter.

    `communities` are what the path carries (RFC 1997), in the form `64512:100`. Whose prefix it is
    counts first: a neighbour with nothing to say about a prefix cannot help it by its communities.
    """
    reason = _prefix_refusal(prefix, policy)
    if reason is not None:
        return reason
    if not policy.forbidden_communities.isdisjoint(communities):
        return FORBIDDEN_COMMUNITY
    return None if policy.required_communities <= communities else MISSING_COMMUNITY


def _prefix_refusal(prefix: IPv4Network, policy: ImportPolicy) -> str | None:
    if any(prefix.overlaps(forbidden) for forbidden in policy.forbidden):
        return FORBIDDEN
    if prefix in policy.hosts:
        return None
    for pool in policy.within:
        if prefix.subnet_of(pool) and policy.min_length <= prefix.prefixlen <= policy.max_length:
            return None
    if policy.within:
        return OUTSIDE
    return NOT_A_HOST if prefix.prefixlen != prefix.max_prefixlen else NOT_OWNED
