"""What would keep a router of Azure from its work: permissions, interfaces, route tables. Only reads.

Azure tells an identity what it is allowed at a resource; so no permission has to be tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import attrs

from routerd.errors import ProviderError
from routerd.model.fabric import Finding
from routerd_cloud_azure import permissions
from routerd_cloud_azure.api import Api
from routerd_cloud_azure.edits import Limit
from routerd_cloud_azure.permissions import Grant, allowed
from routerd_cloud_azure.resources import Interface, RouteTable

_ASSIGN = 'assign the role "routerd router" of docs/clouds/azure.md to the VM\'s identity at {scope}'


class Site(Protocol):
    """What is looked at."""

    @property
    def api(self) -> Api:
        """Return the API."""
        ...

    @property
    def limit(self) -> Limit:
        """Return how many routes a table may hold."""
        ...

    @property
    def chosen_tables(self) -> tuple[str, ...] | None:
        """Return the route tables that the options name."""
        ...

    async def associated(self, interfaces: Sequence[Interface]) -> dict[str, str | None]:
        """Return the route table of each subnet that they are in."""
        ...


@attrs.define
class _Examination:
    """The findings so far, by subject: the worst of several scopes stands."""

    site: Site
    findings: dict[str, Finding] = attrs.field(factory=dict)
    grants: dict[str, tuple[Grant, ...] | ProviderError] = attrs.field(factory=dict)

    def note(self, finding: Finding) -> None:
        present = self.findings.get(finding.subject)
        if present is None or _RANKS[finding.state] > _RANKS[present.state]:
            self.findings[finding.subject] = finding

    async def may(self, actions: Iterable[str], scopes: Iterable[str]) -> None:
        for scope in scopes:
            granted = await self._granted(scope)
            for action in actions:
                self.note(_permission(action, scope, granted))

    async def _granted(self, scope: str) -> tuple[Grant, ...] | ProviderError:
        """Return what is allowed at a scope, or why the identity was not told."""
        if scope not in self.grants:
            try:
                self.grants[scope] = await self.site.api.permissions(scope)
            except ProviderError as error:
                self.grants[scope] = error
        return self.grants[scope]


_RANKS = {"ok": 0, "unknown": 1, "missing": 2}


async def diagnosed(site: Site, interfaces: Sequence[Interface]) -> list[Finding]:
    """Return what was checked of our interfaces and of what they are in."""
    found = _Examination(site)
    await found.may(permissions.INTERFACE, [each.ref for each in interfaces])
    for action, refs in sorted(_joins(interfaces).items()):
        await found.may([action], sorted(refs))
    for each in interfaces:
        found.note(_forwarding(each))
    subnets = dict.fromkeys(each.subnet for each in interfaces)
    await found.may(permissions.SUBNET, subnets)
    for ref in await _tables(found, interfaces):
        await found.may([*permissions.TABLE, permissions.WHOLE_TABLE], [ref])
        try:
            found.note(_table(await site.api.route_table(ref), interfaces, site.limit))
        except ProviderError as error:
            found.note(Finding(subject=f"route table {ref}", state="missing", detail=str(error)))
    await found.may((permissions.OPERATIONS, permissions.OWN), [interfaces[0].ref])
    found.note(Finding(subject=permissions.LIMITS, state="ok", detail=_limit(site.limit)))
    return list(found.findings.values())


async def _tables(found: _Examination, interfaces: Sequence[Interface]) -> tuple[str, ...]:
    """Return the route tables to look at, and note the subnets that have none."""
    if found.site.chosen_tables is not None:
        return found.site.chosen_tables
    try:
        associated = await found.site.associated(interfaces)
    except ProviderError as error:
        found.note(Finding(subject="route tables of our subnets", state="unknown", detail=str(error)))
        return ()
    for subnet, table in associated.items():
        found.note(_association(subnet, table))
    return tuple(dict.fromkeys(table for table in associated.values() if table))


def _joins(interfaces: Sequence[Interface]) -> dict[str, set[str]]:
    joins: dict[str, set[str]] = {}
    for each in interfaces:
        for action, refs in permissions.referred(each.body).items():
            joins.setdefault(action, set()).update(refs)
    return joins


def _permission(action: str, scope: str, granted: tuple[Grant, ...] | ProviderError) -> Finding:
    if isinstance(granted, ProviderError):
        if action != permissions.OWN:
            return Finding(subject=action, state="unknown", detail=f"not told for {scope}")
        return Finding(
            subject=action,
            state="unknown",
            detail=str(granted),
            remedy=f"grant {permissions.OWN}, or have somebody look at the identity's role assignments",
        )
    if allowed(granted, action):
        return Finding(subject=action, state="ok", detail=f"granted at {scope}")
    spared = _SPARED.get(action)
    if spared is not None:
        return Finding(subject=action, state="ok", detail=f"not granted at {scope}; {spared}")
    return Finding(
        subject=action, state="missing", detail=f"not granted at {scope}", remedy=_ASSIGN.format(scope=scope)
    )


_SPARED = {
    permissions.WHOLE_TABLE: "routes are written one by one, which takes some seconds for each",
    permissions.OPERATIONS: "nor needed where the role is assigned for resource groups",
    permissions.OWN: "the answer came all the same",
}
"""What a router does without, and what that means."""


def _forwarding(interface: Interface) -> Finding:
    subject = f"IP forwarding of {interface.ref}"
    return Finding(
        subject=subject, state="ok", detail="enabled" if interface.forwarding else "off; routerd enables it"
    )


def _association(subnet: str, table: str | None) -> Finding:
    subject = f"route table of {subnet}"
    if table:
        return Finding(subject=subject, state="ok", detail=table)
    return Finding(
        subject=subject,
        state="missing",
        detail="none is associated, so nothing in the subnet can be led to us",
        remedy=f'"az network vnet subnet update --ids {subnet} --route-table NAME" gives it one',
    )


def _table(table: RouteTable, interfaces: Sequence[Interface], limit: Limit) -> Finding:
    """Judge a route table by itself: whether anybody uses it, and whether it has room."""
    subject, used = f"route table {table.ref}", len(table.routes)
    count = f"{used} of {limit.routes} routes in use ({limit.source})"
    if not table.subnets:
        return Finding(
            subject=subject,
            state="missing",
            detail=f"no subnet uses it; {count}",
            remedy="associate it with the subnets whose machines shall reach the other sites",
        )
    if used >= limit.routes:
        return Finding(
            subject=subject,
            state="missing",
            detail=f"no room, {count}",
            remedy="free some routes, set aggregate in the profile, or have the limit raised",
        )
    ours = {_network(each.subnet) for each in interfaces}
    if not ours & {_network(subnet) for subnet in table.subnets}:
        return Finding(
            subject=subject,
            state="unknown",
            detail=f"used only in {_network(table.subnets[0])}, another virtual network than ours; {count}",
            remedy="see that it is peered with ours, forwarded traffic allowed",
        )
    return Finding(subject=subject, state="ok", detail=count)


def _limit(limit: Limit) -> str:
    return f"{limit.routes} routes to a table, {limit.source}"


def _network(subnet: str) -> str:
    return subnet.lower().rpartition("/subnets/")[0]
