"""What changes of routes mean for a table that was read: what to write, and what is refused why. Pure.

`foresee` asks it of what was read last, `apply` of what it reads itself; so both say the same words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import attrs

from routerd.errors import NotOwnedError, PermanentError, ProviderError, TransientError
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute, FabricRouteKey
from routerd_cloud_azure.faults import QuotaError
from routerd_cloud_azure.resources import Route, RouteTable, appliance

RouteChange = Change[FabricRouteKey, FabricRoute]


@attrs.frozen(kw_only=True)
class Limit:
    """How many routes a table may hold; `source` says who said so."""

    routes: int
    source: str


@attrs.frozen(kw_only=True)
class Routers:
    """How routes name us, and the other routers of our site."""

    us: str
    others: frozenset[str] = frozenset()


@attrs.frozen(kw_only=True)
class Edit:
    """A change that has to be written; `present` is the route that is replaced or deleted."""

    change: RouteChange
    name: str
    present: Route | None

    @property
    def address(self) -> IPv4Address | None:
        """Return where the route shall lead, none for a deletion."""
        return None if self.change.after is None else IPv4Address(self.change.after.next_hop)


@attrs.frozen(kw_only=True)
class Judgement:
    """What to write, and what is refused; a change that is in neither holds already."""

    edits: tuple[Edit, ...]
    failures: Mapping[FabricRouteKey, ProviderError]


def judge(changes: Sequence[RouteChange], table: RouteTable, routers: Routers, limit: Limit) -> Judgement:
    """Compare changes of one table with what it holds."""
    edits: list[Edit] = []
    failures: dict[FabricRouteKey, ProviderError] = {}
    used = len(table.routes)
    # A deletion makes room, wherever in the sequence it stands.
    for change in sorted(changes, key=lambda each: each.after is not None):
        try:
            edit = _edit(change, table, routers)
            if edit is None:
                continue
            if edit.present is None and used >= limit.routes:
                raise _full(change.key, used, limit)
        except ProviderError as error:
            failures[change.key] = error
            continue
        used += (edit.present is None) - (edit.address is None)
        edits.append(edit)
    return Judgement(edits=tuple(edits), failures=failures)


def edited(table: RouteTable, edits: Sequence[Edit]) -> dict[str, Any]:
    """Return the body of a request that makes edits in a table (Any: JSON of the API)."""
    gone = frozenset(edit.name for edit in edits if edit.address is None)
    put = {
        edit.name: appliance(edit.change.key.prefix, edit.address)
        for edit in edits
        if edit.address is not None
    }
    return table.written(gone, put)


def route_name(prefix: IPv4Network) -> str:
    """Return the name under which we make the route to a prefix, such as `routerd-10-81-10-20-32`."""
    return f"routerd-{str(prefix).replace('.', '-').replace('/', '-')}"


def _edit(change: RouteChange, table: RouteTable, routers: Routers) -> Edit | None:
    """Return what has to be written for one change; raises when it must not be made."""
    key, after, present = change.key, change.after, table.at(change.key.prefix)
    if after is None:
        return _deletion(change, present, routers)
    if after.next_hop not in {routers.us, *routers.others}:
        raise PermanentError(
            f"azure route {key.prefix} in {key.table}: {after.next_hop} is neither our address {routers.us} "
            "nor that of another router of the site"
        )
    if present is None:
        return Edit(change=change, name=_free_name(table, key.prefix), present=None)
    if present.next_hop == after.next_hop:
        return None
    if present.next_hop == routers.us:
        return Edit(change=change, name=present.name, present=present)
    if present.next_hop not in routers.others:
        raise foreign(key, present)
    if change.before is None or change.before.next_hop != present.next_hop:
        raise TransientError(
            f"azure route {key.prefix} in {key.table}: leads to {present.next_hop} now, another router of "
            "the site; left alone until the table is compared again"
        )
    return Edit(change=change, name=present.name, present=present)


def _free_name(table: RouteTable, prefix: IPv4Network) -> str:
    """Return a name for a new route: a write goes by name and would replace who has it, whatever it is."""
    name, number = route_name(prefix), 1
    while table.named(name) is not None:
        number += 1
        name = f"{route_name(prefix)}-{number}"
    return name


def _deletion(change: RouteChange, present: Route | None, routers: Routers) -> Edit | None:
    if present is None:
        return None
    if present.next_hop in routers.others:
        raise NotOwnedError(
            f"azure route {change.key.prefix} in {change.key.table}: {present.name} leads to "
            f"{present.next_hop}, another router of the site, which deletes it itself"
        )
    if present.next_hop != routers.us:
        raise foreign(change.key, present)
    return Edit(change=change, name=present.name, present=present)


def foreign(key: FabricRouteKey, route: Route) -> NotOwnedError:
    """Return the error for a route in the way that is somebody else's."""
    leads = f"leads to {route.next_hop or route.hop}"
    if route.hop == "None":
        leads = "is a blackhole that drops what is sent there (next hop type None)"
    return NotOwnedError(
        f"azure route {key.prefix} in {key.table}: {route.name} ({route.destination}) {leads}, which is not "
        f'ours; remove it ("az network route-table route delete --ids {key.table}/routes/{route.name}") or '
        "leave the prefix out"
    )


def _full(key: FabricRouteKey, used: int, limit: Limit) -> QuotaError:
    return QuotaError(
        f"azure route {key.prefix} in {key.table}: quota reached, {used} of {limit.routes} routes are in use "
        f"({limit.source}); free some, set aggregate in the profile, or have the limit raised"
    )
