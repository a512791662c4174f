"""The permissions of the credentials, and what in the VPC would stop a leaf. Changes nothing."""

from collections.abc import Awaitable, Callable, Iterable, Sequence

from routerd.errors import ProviderError
from routerd.model.fabric import Finding
from routerd_cloud_aws.account import Account
from routerd_cloud_aws.faults import CredentialsError, DeniedError, UnreachableError, grant
from routerd_cloud_aws.inventory import Interface, RouteTable
from routerd_cloud_aws.judge import Site
from routerd_cloud_aws.limits import CODE, OF_QUOTAS, ON_INTERFACES, ON_TABLES, READING

Try = Callable[[], Awaitable[None]]


async def examine(account: Account) -> Sequence[Finding]:
    """Return the findings; raises `ProviderError` when AWS answers no question."""
    api = account.api
    findings = [await _reading(account, action, first=action == READING[0]) for action in READING]
    interfaces = account.interfaces
    site, trouble = await _site(account)
    for action in ON_INTERFACES:
        tries = [_rehearsal(account, action, interface=ref) for ref in interfaces]
        findings.append(await _permission(f"ec2:{action}", tries))
    refs = tuple(site.facts.route_tables) if site else account.options.route_tables or ()
    for action in ON_TABLES:
        tries = [_rehearsal(account, action, interface=interfaces[0], table=ref) for ref in refs]
        found = await _permission(f"ec2:{action}", tries)
        if account.options.route_tables == ():
            found = Finding(subject=found.subject, state="ok", detail="not needed: routeTables is empty")
        findings.append(_unless_needed(found, action, site))
    if account.options.route_quota is None:
        findings += [
            await _permission(f"servicequotas:{action}", [_rehearsal(account, action)])
            for action in OF_QUOTAS
        ]
    if site is None:
        return [*findings, Finding(subject="network", state="unknown", detail=trouble)]
    try:
        present = await api.interfaces(interfaces)
        tables = [
            table for vpc in dict.fromkeys(each.vpc for each in present) for table in await api.tables_of(vpc)
        ]
        named = await api.tables(refs) if refs else {}
        await account.quota.learn(api.route_quota)
    except ProviderError as error:
        return [*findings, Finding(subject="network", state="unknown", detail=str(error))]
    findings += [_check(each) for each in present]
    findings += _route_tables(refs, named, present, site)
    findings += _others(tables, refs)
    return [*findings, _quota(account, named.values())]


def _rehearsal(account: Account, action: str, *, interface: str = "", table: str = "") -> Try:
    return lambda: account.api.rehearse(action, interface=interface, table=table)


async def _reading(account: Account, action: str, *, first: bool) -> Finding:
    tries = [_rehearsal(account, action)]
    if not first:
        return await _permission(f"ec2:{action}", tries)
    try:
        await tries[0]()
    except (CredentialsError, UnreachableError):
        raise
    except ProviderError as error:
        return _denied_or_unknown(f"ec2:{action}", error)
    return Finding(subject=f"ec2:{action}", state="ok")


async def _permission(subject: str, tries: Sequence[Try]) -> Finding:
    """Return whether the role permits an action on everything that routerd needs it for."""
    if not tries:
        return Finding(subject=subject, state="unknown", detail="no route table is known to try it on")
    for attempt in tries:
        try:
            await attempt()
        except ProviderError as error:
            return _denied_or_unknown(subject, error)
    return Finding(subject=subject, state="ok")


def _denied_or_unknown(subject: str, error: ProviderError) -> Finding:
    if isinstance(error, DeniedError):
        return Finding(subject=subject, state="missing", detail=str(error), remedy=grant(subject))
    return Finding(subject=subject, state="unknown", detail=str(error))


def _unless_needed(finding: Finding, action: str, site: Site | None) -> Finding:
    if (
        action == "ReplaceRoute"
        and finding.state == "missing"
        and site is not None
        and not site.routers.others
    ):
        return Finding(
            subject=finding.subject,
            state="ok",
            detail="missing, and not needed while no other router shares the site",
        )
    return finding


async def _site(account: Account) -> tuple[Site | None, str]:
    try:
        await account.find()
        return await account.site(), ""
    except ProviderError as error:
        return None, str(error)


def _check(interface: Interface) -> Finding:
    state = "off" if interface.forwarding else "on; routerd switches it off once its mode allows changes"
    return Finding(subject=f"source/destination check of {interface.ref}", state="ok", detail=state)


def _route_tables(
    refs: Sequence[str], named: dict[str, RouteTable], interfaces: Sequence[Interface], site: Site
) -> list[Finding]:
    if not refs:
        return [Finding(subject="route tables", state="ok", detail="none, by routeTables")]
    vpcs = {each.vpc for each in interfaces}
    return [_route_table(ref, named.get(ref), vpcs, site) for ref in refs]


def _route_table(ref: str, table: RouteTable | None, vpcs: set[str], site: Site) -> Finding:
    subject = f"route table {ref}"
    if table is None:
        return Finding(
            subject=subject, state="missing", detail="does not exist", remedy="correct routeTables"
        )
    if table.vpc not in vpcs:
        return Finding(
            subject=subject,
            state="missing",
            detail=f"belongs to {table.vpc}, our interfaces to {', '.join(sorted(vpcs))}",
            remedy="list tables of our own VPC in routeTables",
        )
    if not table.main and not table.subnets:
        return Finding(
            subject=subject,
            state="missing",
            detail="no subnet uses it, so its routes have no effect",
            remedy=f"aws ec2 associate-route-table --route-table-id {ref} --subnet-id SUBNET",
        )
    users = [*(["every subnet without a table of its own"] if table.main else []), *table.subnets]
    lost = [
        str(route.prefix)
        for route in table.routes
        if route.blackhole and route.target not in {site.us, *site.routers.others}
    ]
    holes = f"; foreign blackholes: {', '.join(lost)}" if lost else ""
    return Finding(subject=subject, state="ok", detail=f"used by {', '.join(users)}{holes}")


def _others(tables: Iterable[RouteTable], refs: Sequence[str]) -> list[Finding]:
    elsewhere = [table for table in tables if table.ref not in refs and (table.subnets or table.main)]
    if not elsewhere or not refs:
        return []
    names = ", ".join(
        f"{table.ref} ({'main' if table.main else ', '.join(table.subnets)})" for table in elsewhere
    )
    return [
        Finding(
            subject="other route tables of the VPC",
            state="ok",
            detail=f"{names}: their subnets reach no remote address; to serve them, list them in routeTables",
        )
    ]


def _quota(account: Account, tables: Iterable[RouteTable]) -> Finding:
    quota = account.quota.known
    held = ", ".join(f"{table.ref} holds {table.used}" for table in tables) or "routerd keeps no table"
    detail = f"{quota.limit} routes a table; {held}"
    if quota.doubt:
        return Finding(subject=f"quota {CODE}", state="unknown", detail=detail, remedy=quota.advice)
    return Finding(subject=f"quota {CODE}", state="ok", detail=detail)
