"""What Azure adds to the rule of `spi.site_routes`: names, room, many routes in one write. Pure.

`foresee` judges by what `observe` read, `apply` by its own reading, so both use the same words.
"""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from typing import Any

import attrs

from routerd.errors import ProviderError
from routerd.model.addresses import IPNetwork
from routerd.model.fabric import FabricRouteKey
from routerd.spi.site_routes import RouteChange, SiteRouters, Write, fault, judge_change
from routerd_cloud_azure.faults import route_name
from routerd_cloud_azure.inventory import Route, RouteTable, appliance
from routerd_cloud_azure.limits import Limit


@attrs.frozen(kw_only=True)
class Edit:
    """A change that has to be written; `present` is the route that it replaces or deletes."""

    change: RouteChange
    name: str
    present: Route | None

    @property
    def address(self) -> IPv4Address | None:
        """Return the next hop to write, none for a deletion."""
        return None if self.change.after is None else IPv4Address(self.change.after.next_hop)


@attrs.frozen(kw_only=True)
class Judgement:
    """The edits to write, and the changes that fail; a change that is in neither holds already."""

    edits: tuple[Edit, ...]
    failures: Mapping[FabricRouteKey, ProviderError]


def judge(changes: Sequence[RouteChange], table: RouteTable, routers: SiteRouters, limit: Limit) -> Judgement:
    """Judge changes of one table, made together, by what it holds."""
    edits: list[Edit] = []
    failures: dict[FabricRouteKey, ProviderError] = {}
    used = len(table.routes)
    # A deletion makes room, at any place in the sequence.
    for change in sorted(changes, key=lambda each: each.after is not None):
        try:
            edit = _edit(change, table, routers)
            if edit is None:
                continue
            if edit.present is None and used >= limit.routes:
                raise limit.full(change.key, used)
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


def name_for(prefix: IPNetwork) -> str:
    """Return the name under which routerd makes the route to a prefix, such as `routerd-10-81-10-20-32`."""
    return f"routerd-{str(prefix).replace('.', '-').replace('/', '-')}"


def _edit(change: RouteChange, table: RouteTable, routers: SiteRouters) -> Edit | None:
    """Return what has to be written for one change; raises why it must not be, or what superseded it."""
    key, present = change.key, table.at(change.key.prefix)
    verdict = judge_change(change, present.next_hop if present else None, routers)
    error = fault(verdict, route_name(key), remedy=_remedy(key, present) if present else "")
    if error is not None:
        raise error
    if not isinstance(verdict, Write):
        return None
    return Edit(
        change=change, name=present.name if present else _free_name(table, key.prefix), present=present
    )


def _free_name(table: RouteTable, prefix: IPNetwork) -> str:
    """Return a name for a new route: a write goes by name and would replace any route that has it."""
    name, number = name_for(prefix), 1
    while table.named(name) is not None:
        number += 1
        name = f"{name_for(prefix)}-{number}"
    return name


def _remedy(key: FabricRouteKey, route: Route) -> str:
    drops = "it is a blackhole, and drops what matches; " if route.hop == "None" else ""
    return (
        f'{drops}remove it ("az network route-table route delete --ids {key.table}/routes/{route.name}") or '
        "stop announcing the prefix"
    )
