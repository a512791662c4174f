"""The rules of a route table as the API sends them, and what becomes of them. Pure.

`UpdateRouteTable` replaces the whole list, so what is not ours must come back exactly as it was
read, fields that we have never heard of included: rules stay the dictionaries of the JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, ip_network

import attrs

from routerd.errors import NotOwnedError, PermanentError, ProviderError, UnsupportedError
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute, FabricRouteKey

Rule = Mapping[str, object]

DESCRIPTION = "routerd"


@attrs.frozen(kw_only=True)
class RouteTable:
    """A route table as read, with the ETag that says whether it is still so."""

    ref: str
    vcn: str
    rules: tuple[Rule, ...]
    etag: str


@attrs.frozen(kw_only=True)
class Merge:
    """A new list of rules, and the changes that could not go into it."""

    rules: tuple[Rule, ...]
    failures: Mapping[FabricRouteKey, ProviderError]


def destination(rule: Rule) -> IPv4Network | None:
    """Return the rule's IPv4 destination, or none for a service or an IPv6 prefix."""
    text = rule.get("destination") or rule.get("cidrBlock")
    if not isinstance(text, str) or rule.get("destinationType", "CIDR_BLOCK") not in ("CIDR_BLOCK", None):
        return None
    try:
        network = ip_network(text)
    except ValueError:
        return None
    return network if isinstance(network, IPv4Network) else None


def ours(rule: Rule, next_hop: str) -> bool:
    """Say whether a rule leads to our own private IP; anything else is foreign."""
    # Rules of the type LOCAL are the VCN's own and cannot be changed.
    return rule.get("networkEntityId") == next_hop and rule.get("routeType") != "LOCAL"


def merge(
    table: RouteTable,
    changes: Sequence[Change[FabricRouteKey, FabricRoute]],
    *,
    next_hop: str,
    networks: Sequence[IPv4Network],
) -> Merge:
    """Return the table's rules with the changes made; the order of what stays is kept."""
    rules = list(table.rules)
    failures: dict[FabricRouteKey, ProviderError] = {}
    # Deletions first: at the limit they make room for what is to be created.
    for change in sorted(changes, key=lambda each: each.after is not None):
        prefix = change.key.prefix
        standing = [rule for rule in rules if destination(rule) == prefix]
        if change.after is None:
            rules = [rule for rule in rules if not (destination(rule) == prefix and ours(rule, next_hop))]
            continue
        error = _refusal(table, prefix, change.after, standing, next_hop, networks)
        if error is not None:
            failures[change.key] = error
        elif not standing:
            rules.append(_rule(prefix, next_hop))
    return Merge(rules=tuple(rules), failures=failures)


def _refusal(
    table: RouteTable,
    prefix: IPv4Network,
    after: FabricRoute,
    standing: Sequence[Rule],
    next_hop: str,
    networks: Sequence[IPv4Network],
) -> ProviderError | None:
    where = f"oci route table {table.ref}: {prefix}"
    if after.next_hop != next_hop:
        return PermanentError(f"{where}: next hop {after.next_hop} is not our private IP {next_hop}")
    for rule in standing:
        if not ours(rule, next_hop):
            hop = rule.get("networkEntityId")
            return NotOwnedError(
                f"{where} leads to {hop}, which is not ours; remove that rule or stop announcing the prefix"
            )
    if standing:
        return None
    for network in networks:
        if prefix.subnet_of(network):
            return UnsupportedError(
                f"{where} lies inside the VCN's own {network}, where OCI routes locally; "
                "give the remote host an address outside the VCN"
            )
    return None


def _rule(prefix: IPv4Network, next_hop: str) -> Rule:
    return {
        "destination": str(prefix),
        "destinationType": "CIDR_BLOCK",
        "networkEntityId": next_hop,
        "description": DESCRIPTION,
    }
