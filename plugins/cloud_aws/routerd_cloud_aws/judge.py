"""What AWS adds to the rule of `spi.site_routes`: our tables, the VPC's own prefixes, room. Pure."""

from collections.abc import Mapping, Sequence

import attrs

from routerd.errors import ProviderError, TransientError, UnsupportedError
from routerd.model.addresses import inside
from routerd.model.fabric import FabricRouteKey, InstanceFacts
from routerd.spi.site_routes import (
    READ_AGAIN,
    RouteChange,
    SiteRouters,
    Write,
    fault,
    foreign_table,
    judge_change,
)
from routerd_cloud_aws.faults import MissingError, route_name
from routerd_cloud_aws.inventory import Route, RouteTable
from routerd_cloud_aws.limits import Quota


@attrs.frozen(kw_only=True)
class Site:
    """Our instance in its VPC, and how routes name us and the site's other routers."""

    facts: InstanceFacts
    routers: SiteRouters

    @property
    def us(self) -> str:
        """Return how a route names us."""
        return self.routers.us


def is_due(change: RouteChange, table: RouteTable | None, site: Site) -> bool:
    """Say whether a change has to be written; raises why it must not be, or what superseded it."""
    key, name = change.key, route_name(change.key)
    if key.table not in site.facts.route_tables:
        raise foreign_table("aws", key.table)
    if table is None:
        raise MissingError(
            f"aws route table {key.table}: does not exist; correct routeTables, or restart routerd to look "
            "the tables up again"
        )
    route = table.find(key.prefix)
    verdict = judge_change(change, route.target if route else None, site.routers)
    error = fault(verdict, name, remedy=_remedy(key, route))
    if error is not None:
        raise error
    due = isinstance(verdict, Write)
    if due and change.after is not None and change.after.next_hop == site.us:
        for network in (each for each in site.facts.networks if inside(key.prefix, each)):
            raise UnsupportedError(
                f"{name}: lies within {network}, the VPC's own prefix, where AWS routes nothing smaller than "
                "a subnet; use addresses outside of it"
            )
    return due


def _remedy(key: FabricRouteKey, route: Route | None) -> str:
    if route is not None and route.blackhole:
        return (
            "it is a blackhole, its target is deleted or stopped; if you do not need it: aws ec2 "
            f"delete-route --route-table-id {key.table} --destination-cidr-block {key.prefix}"
        )
    return "remove it, or stop announcing the prefix"


def raced(key: FabricRouteKey, route: Route | None) -> TransientError:
    """Return the error of a change that does not show, or no longer, in what was read after it."""
    who = f"leads to {route.target}" if route else "is not there"
    return TransientError(
        f"{route_name(key)}: {who}; another writer has changed it, or EC2 shows the change late; routerd "
        "will read the table again",
        retry_after=READ_AGAIN,
    )


def refusals(
    changes: Sequence[RouteChange], tables: Mapping[str, RouteTable], site: Site, quota: Quota
) -> dict[FabricRouteKey, ProviderError]:
    """Return which of the changes, made together, would be refused; deletions make room first."""
    refused: dict[FabricRouteKey, ProviderError] = {}
    due: dict[str, list[RouteChange]] = {}
    for change in changes:
        try:
            if is_due(change, tables.get(change.key.table), site):
                due.setdefault(change.key.table, []).append(change)
        except ProviderError as error:
            refused[change.key] = error
    for ref, part in due.items():
        table = tables[ref]
        used = table.used - sum(change.after is None for change in part)
        longer = [change.key for change in part if change.after and table.find(change.key.prefix) is None]
        for key in longer[max(0, quota.limit - used) :]:
            refused[key] = quota.full(key, used=used, wanted=len(longer))
    return refused
