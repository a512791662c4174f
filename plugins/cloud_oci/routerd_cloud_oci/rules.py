"""The rules of a route table as the API sends them, and what becomes of them. Pure.

`UpdateRouteTable` replaces the whole list, so what is not ours must come back exactly as it was
read, fields that we have never heard of included: rules stay the dictionaries of the JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, ip_network

import attrs

from routerd.errors import NotOwnedError, PermanentError, ProviderError, TransientError, UnsupportedError
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute, FabricRouteKey
from routerd_cloud_oci.faults import table_full

Rule = Mapping[str, object]
RouteChange = Change[FabricRouteKey, FabricRoute]

DESCRIPTION = "routerd"
PRIVATE_IP = "ocid1.privateip."


@attrs.frozen(kw_only=True)
class RouteTable:
    """A route table as read, with the ETag that says whether it is still so."""

    ref: str
    vcn: str
    rules: tuple[Rule, ...]
    etag: str


@attrs.frozen(kw_only=True)
class Site:
    """By what a rule is judged: who we are, the site's other routers, and what the network allows.

    `next_hop` and `others` are OCIDs of private IPs; `limit` is how many rules a table may hold;
    `gone` are targets of foreign rules that are known to be there no more.
    """

    next_hop: str
    others: frozenset[str] = frozenset()
    networks: tuple[IPv4Network, ...] = ()
    limit: int
    gone: frozenset[str] = frozenset()

    def router(self, rule: Rule) -> str:
        """Return which router of the site a rule leads to, or nothing for a foreign rule."""
        # Rules of the type LOCAL are the VCN's own and cannot be changed.
        hop = rule.get("networkEntityId")
        known = isinstance(hop, str) and hop in self.others | {self.next_hop}
        return str(hop) if known and rule.get("routeType") != "LOCAL" else ""


@attrs.frozen(kw_only=True)
class Merge:
    """A new list of rules, the changes that could not go into it, and the foreign targets in their way."""

    rules: tuple[Rule, ...]
    failures: Mapping[FabricRouteKey, ProviderError]
    blockers: frozenset[str]


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


def merge(table: RouteTable, changes: Sequence[RouteChange], site: Site) -> Merge:
    """Return the table's rules with the changes made; the order of what stays is kept."""
    rules = list(table.rules)
    failures: dict[FabricRouteKey, ProviderError] = {}
    blockers: set[str] = set()
    # Deletions first: at the limit they make room for what is to be created.
    for change in sorted(changes, key=lambda each: each.after is not None):
        prefix = change.key.prefix
        where = f"oci route table {table.ref}: {prefix}"
        standing = _standing(rules, change, site)
        if standing is None:
            error = _refuse_new(table, change, site, where, len(rules))
            if error is None and change.after is not None:
                rules.append(_rule(prefix, change.after.next_hop))
        else:
            error = _refuse_standing(standing, change, site, where)
            if error is None:
                rules = _with(rules, standing, change, site)
            if isinstance(error, NotOwnedError) and not site.router(standing):
                blockers.add(str(standing.get("networkEntityId")))
        if error is not None:
            failures[change.key] = error
    return Merge(rules=tuple(rules), failures=failures, blockers=frozenset(blockers))


def _standing(rules: Sequence[Rule], change: RouteChange, site: Site) -> Rule | None:
    """Return the rule that a change is about: of several, ours to delete, a stranger's to replace."""
    found = [rule for rule in rules if destination(rule) == change.key.prefix]
    return min(
        found,
        key=lambda rule: (site.router(rule) == site.next_hop) is (change.after is not None),
        default=None,
    )


def _refuse_new(
    table: RouteTable, change: RouteChange, site: Site, where: str, used: int
) -> ProviderError | None:
    """Return why no rule may be made where there is none."""
    if change.after is None:
        return None
    if (error := _refuse_hop(change.after, site, where)) is not None:
        return error
    for network in site.networks:
        if change.key.prefix.subnet_of(network):
            return UnsupportedError(
                f"{where} lies inside the VCN's own {network}, where OCI routes locally; "
                "give the remote host an address outside the VCN"
            )
    if used >= site.limit:
        return table_full(table=table.ref, prefix=str(change.key.prefix), used=used, limit=site.limit)
    return None


def _refuse_standing(rule: Rule, change: RouteChange, site: Site, where: str) -> ProviderError | None:
    """Return why the rule that is there may not be changed."""
    hop, leads_to, after = rule.get("networkEntityId"), site.router(rule), change.after
    if after is None:
        # What a stranger made in the meantime is not ours to delete, and ours is gone already.
        if leads_to in ("", site.next_hop):
            return None
        return NotOwnedError(
            f"{where} leads to {hop}, another router of the site; it is left alone, that router deletes it"
        )
    if (error := _refuse_hop(after, site, where)) is not None:
        return error
    if leads_to == after.next_hop:
        return None
    if not leads_to:
        return _foreign(rule, site, where)
    if site.next_hop not in (after.next_hop, leads_to):
        return NotOwnedError(
            f"{where} leads to {hop}, another router of the site, and no more to us; it is left alone"
        )
    if change.before is None:
        return TransientError(
            f"{where} leads to {hop} by now, another router of the site; it is read again first"
        )
    return None


def _refuse_hop(after: FabricRoute, site: Site, where: str) -> ProviderError | None:
    if after.next_hop in site.others | {site.next_hop}:
        return None
    return PermanentError(f"{where}: next hop {after.next_hop} is not our private IP {site.next_hop}")


def _foreign(rule: Rule, site: Site, where: str) -> ProviderError:
    hop = rule.get("networkEntityId")
    if hop in site.gone:
        return NotOwnedError(
            f"{where} leads to {hop}, which is not ours and is gone, or where we may not see it: a blackhole "
            "that drops what matches; remove that rule"
        )
    return NotOwnedError(
        f"{where} leads to {hop}, which is not ours; remove that rule or stop announcing the prefix"
    )


def _with(rules: Sequence[Rule], standing: Rule, change: RouteChange, site: Site) -> list[Rule]:
    """Return the rules with the standing one deleted or led elsewhere, its other fields as they are."""
    if change.after is None:
        return [rule for rule in rules if rule is not standing or site.router(rule) != site.next_hop]
    if standing.get("networkEntityId") == change.after.next_hop:
        return list(rules)
    led = {**standing, "networkEntityId": change.after.next_hop}
    return [led if rule is standing else rule for rule in rules]


def _rule(prefix: IPv4Network, next_hop: str) -> Rule:
    return {
        "destination": str(prefix),
        "destinationType": "CIDR_BLOCK",
        "networkEntityId": next_hop,
        "description": DESCRIPTION,
    }
