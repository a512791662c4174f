"""A route table's rules with changes merged in. Pure.

What complicates this: OCI replaces the whole list of rules, so every foreign rule must come back as it
was read and in its place. Deletions make room for creations in the same write. A change that is refused
must not stop the others.
"""

from collections.abc import Mapping, Sequence

import attrs

from routerd.errors import NotOwnedError, ProviderError
from routerd.model.addresses import IPNetwork
from routerd.model.fabric import FabricRouteKey
from routerd.spi.site_routes import RouteChange, Write, fault, judge_change
from routerd_cloud_oci.inventory import RouteTable, Rule, destination, target
from routerd_cloud_oci.judge import Site, refuse_new, remedy


@attrs.frozen(kw_only=True)
class Merge:
    """A new list of rules, the changes that it leaves out, and the foreign targets in their way."""

    rules: tuple[Rule, ...]
    failures: Mapping[FabricRouteKey, ProviderError]
    blockers: frozenset[str]


def merge(table: RouteTable, changes: Sequence[RouteChange], site: Site) -> Merge:
    """Return the table's rules with the changes made; the rules that stay keep their order."""
    rules = _Rules(table.rules)
    failures: dict[FabricRouteKey, ProviderError] = {}
    blockers: set[str] = set()
    for change in sorted(changes, key=lambda each: each.after is not None):
        prefix, after = change.key.prefix, change.after
        place = rules.place(prefix, site.routers.us, ours_first=after is None)
        present = None if place is None else target(rules.held[place])
        verdict = judge_change(change, present, site.routers)
        error = fault(verdict, f"oci route table {table.ref}: {prefix}", remedy=remedy(present, site))
        if error is None and place is None and isinstance(verdict, Write):
            error = refuse_new(table, prefix, len(rules.held), site)
        if error is not None:
            failures[change.key] = error
            blockers |= {present} if present is not None and isinstance(error, NotOwnedError) else set()
        elif not isinstance(verdict, Write):
            continue
        elif place is None:
            assert after is not None  # noqa: S101 - no verdict is to write nothing where nothing is
            rules.add(prefix, _rule(prefix, after.next_hop))
        elif after is None:
            rules.delete(prefix, place)
        else:
            rules.held[place] = {**rules.held[place], "networkEntityId": after.next_hop}
    return Merge(rules=tuple(rules.held.values()), failures=failures, blockers=frozenset(blockers))


class _Rules:
    """The rules by place and the places by destination, so that many changes read each rule once."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.held: dict[int, Rule] = {}
        self._places: dict[IPNetwork | None, list[int]] = {}
        self._next = 0
        for rule in rules:
            self.add(destination(rule), rule)

    def add(self, prefix: IPNetwork | None, rule: Rule) -> None:
        """Put a rule at the end."""
        self.held[self._next] = rule
        self._places.setdefault(prefix, []).append(self._next)
        self._next += 1

    def place(self, prefix: IPNetwork, us: str, *, ours_first: bool) -> int | None:
        """Return the place of a prefix's rule; of several, ours to delete or a foreign one to replace."""
        return min(
            self._places.get(prefix, ()),
            key=lambda place: (target(self.held[place]) == us) is not ours_first,
            default=None,
        )

    def delete(self, prefix: IPNetwork, place: int) -> None:
        """Take out the rule at a place."""
        del self.held[place]
        self._places[prefix].remove(place)


def _rule(prefix: IPNetwork, next_hop: str) -> Rule:
    return {
        "destination": str(prefix),
        "destinationType": "CIDR_BLOCK",
        "networkEntityId": next_hop,
        "description": "routerd",
    }
