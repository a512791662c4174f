"""What would stop a router on Azure: permissions, interfaces, route tables. Only reads.

Azure shows an identity its permissions at a resource, so routerd need not try them.
"""

from collections.abc import Iterable, Sequence

import attrs

from routerd.errors import ProviderError
from routerd.model.fabric import Finding
from routerd_cloud_azure import limits
from routerd_cloud_azure.account import Account
from routerd_cloud_azure.inventory import Interface, RouteTable
from routerd_cloud_azure.limits import Grant, Limit, allowed

_ASSIGN = 'assign the role "routerd router" of docs/clouds/azure.md to the VM\'s identity at {scope}'


@attrs.define
class _Examination:
    """The findings so far, by subject; of several scopes the worst one counts."""

    account: Account
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
        """Return the permissions at a scope, or why Azure does not show them."""
        if scope not in self.grants:
            try:
                self.grants[scope] = await self.account.api.permissions(scope)
            except ProviderError as error:
                self.grants[scope] = error
        return self.grants[scope]


_RANKS = {"ok": 0, "unknown": 1, "missing": 2}


async def examine(account: Account) -> list[Finding]:
    """Return the findings; raises `ProviderError` when Azure does not show our interfaces."""
    interfaces = await account.interfaces()
    await account.limit.learn(account.api.routes_limit)
    limit, found = account.limit.known, _Examination(account)
    await found.may(limits.INTERFACE, [each.ref for each in interfaces])
    for action, refs in sorted(_joins(interfaces).items()):
        await found.may([action], sorted(refs))
    for each in interfaces:
        found.note(_forwarding(each))
    subnets = dict.fromkeys(each.subnet for each in interfaces)
    await found.may([limits.READ_SUBNET], subnets)
    for ref in await _tables(found, interfaces):
        await found.may([*limits.TABLE, limits.WRITE_TABLE], [ref])
        try:
            found.note(_table(await account.api.route_table(ref), interfaces, limit))
        except ProviderError as error:
            found.note(Finding(subject=f"route table {ref}", state="missing", detail=str(error)))
    await found.may((limits.OPERATIONS, limits.OWN), [interfaces[0].ref])
    found.note(Finding(subject=limits.LIMITS, state="ok", detail=str(limit)))
    return list(found.findings.values())


async def _tables(found: _Examination, interfaces: Sequence[Interface]) -> tuple[str, ...]:
    """Return the route tables to check, and note the subnets without one."""
    chosen = found.account.options.route_tables
    if chosen is not None:
        return chosen
    try:
        associated = await found.account.associated(interfaces)
    except ProviderError as error:
        found.note(Finding(subject="route tables of our subnets", state="unknown", detail=str(error)))
        return ()
    for subnet, table in associated.items():
        found.note(_association(subnet, table))
    return tuple(dict.fromkeys(table for table in associated.values() if table))


def _joins(interfaces: Sequence[Interface]) -> dict[str, set[str]]:
    joins: dict[str, set[str]] = {}
    for each in interfaces:
        for action, refs in limits.referred(each.body).items():
            joins.setdefault(action, set()).update(refs)
    return joins


def _permission(action: str, scope: str, granted: tuple[Grant, ...] | ProviderError) -> Finding:
    if isinstance(granted, ProviderError):
        if action != limits.OWN:
            return Finding(subject=action, state="unknown", detail=f"not shown for {scope}")
        return Finding(
            subject=action,
            state="unknown",
            detail=str(granted),
            remedy=f"grant {limits.OWN}, or check the identity's role assignments",
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
    limits.WRITE_TABLE: "routerd writes routes one by one, which takes some seconds for each",
    limits.OPERATIONS: "not needed where the role is assigned for resource groups",
    limits.OWN: "Azure answers without it",
}
"""Permissions that a router works without, and the consequence."""


def _forwarding(interface: Interface) -> Finding:
    return Finding(
        subject=f"IP forwarding of {interface.ref}",
        state="ok",
        detail="enabled" if interface.forwarding else "off; routerd enables it",
    )


def _association(subnet: str, table: str | None) -> Finding:
    subject = f"route table of {subnet}"
    if table:
        return Finding(subject=subject, state="ok", detail=table)
    return Finding(
        subject=subject,
        state="missing",
        detail="none is associated, so no machine in the subnet can reach us",
        remedy=f"associate one: az network vnet subnet update --ids {subnet} --route-table NAME",
    )


def _table(table: RouteTable, interfaces: Sequence[Interface], limit: Limit) -> Finding:
    """Judge a route table by itself: whether a subnet uses it, and whether it has room."""
    subject, used = f"route table {table.ref}", len(table.routes)
    count = f"{used} of {limit.routes} routes in use ({limit.source})"
    if not table.subnets:
        return Finding(
            subject=subject,
            state="missing",
            detail=f"no subnet uses it; {count}",
            remedy="associate it with the subnets whose machines need the other sites",
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
            detail=f"used only in {_network(table.subnets[0])}, not in our virtual network; {count}",
            remedy="peer it with ours, and allow forwarded traffic",
        )
    return Finding(subject=subject, state="ok", detail=count)


def _network(subnet: str) -> str:
    return subnet.lower().rpartition("/subnets/")[0]
