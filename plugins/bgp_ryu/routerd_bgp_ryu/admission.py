"""May a prefix come in from a neighbour, and if not, why. Pure, and used on both sides."""

from __future__ import annotations

from ipaddress import IPv4Network

from routerd.model.session import ImportPolicy

NOT_A_HOST = "not-exact-host-prefix"
NOT_OWNED = "prefix-not-owned-by-claim"
OUTSIDE = "prefix-outside-import-policy"
FORBIDDEN = "forbidden-prefix"
TOO_MANY = "max-prefixes-exceeded"


def refusal(prefix: IPv4Network, policy: ImportPolicy) -> str | None:
    """Return the reason code for refusing `prefix`, or none when it may enter."""
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
