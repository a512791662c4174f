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
    rules = _Rules(table.rules)
    failures: dict[FabricRouteKey, ProviderError] = {}
    blockers: set[str] = set()
    # Deletions first: at the limit they make room for what is to be created.
    for change in sorted(changes, key=lambda each: each.after is not None):
        prefix, after = change.key.prefix, change.after
        where = f"oci route table {table.ref}: {prefix}"
        place = rules.place(prefix, ours_first=after is None, site=site)
        standing = None if place is None else rules.held[place]
        if standing is None:
            error = _refuse_new(table, change, site, where, len(rules.held))
        else:
            error = _refuse_standing(standing, change, site, where)
            if isinstance(error, NotOwnedError) and not site.router(standing):
                blockers.add(str(standing.get("networkEntityId")))
        if error is not None:
            failures[change.key] = error
        elif after is None:
            rules.delete(prefix, site)
        elif place is None:
            rules.add(prefix, _rule(prefix, after.next_hop))
        elif standing is not None and standing.get("networkEntityId") != after.next_hop:
            rules.held[place] = {**standing, "networkEntityId": after.next_hop}
    return Merge(rules=tuple(rules.held.values()), failures=failures, blockers=frozenset(blockers))


class _Rules:
    """The rules by place, and the places by destination: each rule is read once, however many changes."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.held: dict[int, Rule] = {}
        self._places: dict[IPv4Network | None, list[int]] = {}
        self._next = 0
        for rule in rules:
            self.add(destination(rule), rule)

    def add(self, prefix: IPv4Network | None, rule: Rule) -> None:
        """Put a rule at the end."""
        self.held[self._next] = rule
        self._places.setdefault(prefix, []).append(self._next)
        self._next += 1

    def place(self, prefix: IPv4Network, *, ours_first: bool, site: Site) -> int | None:
        """Return where the rule of a destination is: of several, ours to delete, a stranger's to replace."""
        found = self._places.get(prefix, ())
        return min(
            found,
            key=lambda place: (site.router(self.held[place]) == site.next_hop) is not ours_first,
            default=None,
        )

    def delete(self, prefix: IPv4Network, site: Site) -> None:
        """Take out what leads to us."""
        for place in tuple(self._places.get(prefix, ())):
            if site.router(self.held[place]) == site.next_hop:
                del self.held[place]
                self._places[prefix].remove(place)


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


def _rule(prefix: IPv4Network, next_hop: str) -> Rule:
    return {
        "destination": str(prefix),
        "destinationType": "CIDR_BLOCK",
        "networkEntityId": next_hop,
        "description": DESCRIPTION,
    }
