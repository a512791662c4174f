"""Whether a change of a route may be made, judged by what a table holds. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

import attrs

from routerd.errors import NotOwnedError, PermanentError, ProviderError, TransientError, UnsupportedError
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute, FabricRouteKey, InstanceFacts
from routerd_cloud_aws.faults import MissingError, QuotaError
from routerd_cloud_aws.inventory import Route, RouteTable
from routerd_cloud_aws.quota import CODE, SERVICE, Quota

RouteChange = Change[FabricRouteKey, FabricRoute]

_LOOK_AGAIN = timedelta(seconds=5)


@attrs.frozen(kw_only=True)
class Site:
    """Who we are and how routes name the other routers of the site."""

    facts: InstanceFacts
    others: frozenset[str] = frozenset()

    @property
    def us(self) -> str:
        """Return how a route names us."""
        return self.facts.next_hop


def is_settled(change: RouteChange, table: RouteTable) -> bool:
    """Say whether the table is as the change would make it."""
    route = table.find(change.key.prefix)
    wanted = None if change.after is None else change.after.next_hop
    return (route.target if route else None) == wanted


def refusal(change: RouteChange, table: RouteTable | None, site: Site) -> ProviderError | None:
    """Return why a change must not be made; none if it may, or need not, be made.

    A route is created and taken over towards us, given back to another router of the site, and deleted
    while it leads to us. Everything else that is in the way is somebody's.
    """
    key, wanted = change.key, change.after
    if key.table not in site.facts.route_tables:
        return NotOwnedError(
            f"aws route table {key.table}: is none of this instance's; set routeTables to use it"
        )
    if table is None:
        return MissingError(
            f"aws route table {key.table}: is not there; correct routeTables, or restart routerd to have "
            "the tables looked up again"
        )
    if is_settled(change, table):
        return None
    route = table.find(key.prefix)
    if wanted is None:
        return _foreign(key, route, site) if route and route.target != site.us else None
    if wanted.next_hop == site.us:
        return _towards_us(change, route, site)
    if change.before is None or wanted.next_hop not in site.others:
        return PermanentError(
            f"aws route {key.prefix} in {key.table}: {wanted.next_hop} is not our interface {site.us}"
        )
    return _given_back(change, route, site)


def _towards_us(change: RouteChange, route: Route | None, site: Site) -> ProviderError | None:
    key = change.key
    for network in site.facts.networks:
        if key.prefix.subnet_of(network):
            return UnsupportedError(
                f"aws route {key.prefix} in {key.table}: lies within {network}, the VPC's own prefix, "
                "where AWS routes nothing smaller than a subnet; use addresses outside of it"
            )
    if route is None:
        return None
    if route.target not in site.others:
        return _foreign(key, route, site)
    return taken(key, route) if change.before is None else None


def _given_back(change: RouteChange, route: Route | None, site: Site) -> ProviderError | None:
    key = change.key
    if route is None:
        return TransientError(
            f"aws route {key.prefix} in {key.table}: is gone, there is nothing to give back",
            retry_after=_LOOK_AGAIN,
        )
    if route.target == site.us:
        return None
    return taken(key, route) if route.target in site.others else _foreign(key, route, site)


def taken(key: FabricRouteKey, route: Route | None) -> ProviderError:
    """Return the error of a change after which, or before which, somebody else made one."""
    who = f"leads to {route.target}" if route else "is not there"
    return TransientError(
        f"aws route {key.prefix} in {key.table}: {who}, changed by somebody else meanwhile, or EC2 shows "
        "the change late; looked at again soon",
        retry_after=_LOOK_AGAIN,
    )


def _foreign(key: FabricRouteKey, route: Route, site: Site) -> NotOwnedError:
    where = f"aws route {key.prefix} in {key.table}: leads to {route.target}"
    if route.target in site.others:
        return NotOwnedError(f"{where}, another router of the site; it is left to that one")
    delete = f"aws ec2 delete-route --route-table-id {key.table} --destination-cidr-block {key.prefix}"
    if route.blackhole:
        return NotOwnedError(
            f"{where} (a blackhole: that is gone or stopped), which is not ours; if nobody needs it, {delete}"
        )
    return NotOwnedError(f"{where}, which is not ours; remove it or leave the prefix out")


def full(key: FabricRouteKey, *, used: int, wanted: int, quota: Quota) -> QuotaError:
    """Return the error of a route for which its table has no room; `wanted` is how many more there are."""
    return QuotaError(
        f"aws route {key.prefix} in {key.table}: quota {CODE} reached, the table holds {used} of "
        f"{quota.limit} routes (propagated and local ones not counted) and {wanted} more are wanted; "
        f"{_advice(quota)}"
    )


def refused_by_quota(error: QuotaError, *, used: int, quota: Quota) -> QuotaError:
    """Return the error of a table that EC2 calls full and we do not: a prefix list counts many times."""
    return QuotaError(
        f"{error}; routerd counts {used} of {quota.limit} routes, and AWS a prefix list as many times as it "
        f"may have entries; {_advice(quota)}"
    )


def _advice(quota: Quota) -> str:
    if quota.doubt:
        return (
            f"{quota.limit} is assumed, because {quota.doubt}; permit servicequotas:GetServiceQuota and "
            "servicequotas:GetAWSDefaultServiceQuota, or say the account's number in the option routeQuota"
        )
    return (
        "aggregate or announce less, or have it raised (at most 1000): aws service-quotas "
        f"request-service-quota-increase --service-code {SERVICE} --quota-code {CODE} --desired-value NUMBER"
    )


def is_refused_for_room(errors: Iterable[ProviderError]) -> bool:
    """Say whether somebody would want the quota to be higher."""
    return any(isinstance(error, QuotaError) for error in errors)


def refusals(
    changes: Sequence[RouteChange], tables: Mapping[str, RouteTable], site: Site, quota: Quota
) -> dict[FabricRouteKey, ProviderError]:
    """Return which of the changes, made together, would be refused; deletions make room first."""
    refused = {
        change.key: error
        for change in changes
        if (error := refusal(change, tables.get(change.key.table), site)) is not None
    }
    for ref, table in tables.items():
        due = [change for change in changes if change.key.table == ref and change.key not in refused]
        used = table.used - sum(change.after is None and not is_settled(change, table) for change in due)
        longer = [change.key for change in due if change.after and table.find(change.key.prefix) is None]
        for key in longer[max(0, quota.limit - used) :]:
            refused[key] = full(key, used=used, wanted=len(longer), quota=quota)
    return refused
