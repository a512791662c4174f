"""The checks of `routerd doctor cloud` in OCI: permissions by their own names, then the network.

OCI has no dry run. The checkup makes every read. It tries each write with an empty body and an ETag that no
resource has: OCI answers 404 without the permission, and 412 otherwise. OCI does not document that it checks
permissions before ETags, so the finding for a 412 is `unknown`, with that as its detail.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Literal, TypeVar

from routerd.errors import ProviderError, TransientError
from routerd.model.fabric import Finding
from routerd_cloud_oci.account import Account
from routerd_cloud_oci.client import Client, Trial
from routerd_cloud_oci.faults import DeniedError, UnauthenticatedError
from routerd_cloud_oci.inventory import Subnet
from routerd_cloud_oci.limits import PERMISSIONS, remedy

T = TypeVar("T")
State = Literal["ok", "missing", "unknown"]

_ATTACH = ("PRIVATE_IP_ROUTE_TABLE_ATTACH", "PRIVATE_IP_ROUTE_TABLE_DETACH")
_WEIGHT: dict[State, int] = {"ok": 0, "unknown": 1, "missing": 2}


class _Checkup:
    """Collects findings and keeps the worst of each subject: one VNIC may be barred and another not."""

    def __init__(self) -> None:
        self._findings: dict[str, Finding] = {}
        self._silence: ProviderError | None = None
        self._answered = False

    def note(self, subject: str, state: State, detail: str = "", advice: str = "") -> None:
        """Keep a finding unless a worse one of its subject is known."""
        known = self._findings.get(subject)
        if known is None or _WEIGHT[state] > _WEIGHT[known.state]:
            self._findings[subject] = Finding(subject=subject, state=state, detail=detail, remedy=advice)

    async def ask(self, operation: str, call: Callable[[], Awaitable[T]]) -> T | None:
        """Make a call and note its permissions; return nothing when it fails."""
        try:
            answer = await call()
        except UnauthenticatedError:
            # Every other call has the same answer.
            raise
        except ProviderError as error:
            self._silence = error if isinstance(error, TransientError) else self._silence
            self._answered |= not isinstance(error, TransientError)
            for permission in PERMISSIONS[operation]:
                self.failed(permission, error, remedy(permission))
            return None
        self._answered = True
        for permission in PERMISSIONS[operation]:
            self.note(permission, "ok", operation)
        return answer

    async def attempt(self, operation: str, call: Callable[[], Awaitable[Trial]]) -> None:
        """Make a write that cannot succeed, and note its permission."""
        permission = PERMISSIONS[operation][0]
        try:
            outcome = await call()
        except ProviderError as error:
            self.failed(permission, error, remedy(permission))
        else:
            if outcome == "accepted":
                self.note(permission, "ok", operation)
            else:
                self.note(
                    permission,
                    "unknown",
                    f"{operation} was not denied (412); OCI does not document that this proves it",
                    f"if OCI denies it later, {remedy(permission)}",
                )

    def failed(self, subject: str, error: ProviderError, advice: str) -> None:
        """Note a failed call; `advice` is the remedy where OCI denied it."""
        if isinstance(error, DeniedError):
            self.note(subject, "missing", str(error), advice)
        else:
            retry = "try again later" if isinstance(error, TransientError) else ""
            self.note(subject, "unknown", str(error), retry)

    def result(self) -> Sequence[Finding]:
        """Return the findings; raises the last `TransientError` when nothing answered at all."""
        if self._silence is not None and not self._answered:
            raise self._silence
        return tuple(self._findings.values())


async def examine(account: Account) -> Sequence[Finding]:
    """Return the findings; raises `ProviderError` when nothing answers or OCI does not recognize us."""
    check, api = _Checkup(), account.api
    subnets = await _check_vnics(check, api, account.vnics(), by_vnic=account.identity is None)
    vcns = dict.fromkeys(subnet.vcn for subnet in subnets)
    for vcn in vcns:
        await check.ask("GetVcn", partial(api.vcn_networks, vcn))
    refs: Sequence[str] | None = account.options.route_tables
    if refs is None:
        refs = tuple(dict.fromkeys(subnet.route_table for subnet in subnets))
        if not refs:
            check.note("route tables", "unknown", "those of our subnets could not be read")
    elif not refs:
        check.note("route tables", "ok", "routeTables is empty; routerd writes no route")
    await _check_tables(check, api, refs, set(vcns), account.options.route_rules_limit)
    for other in sorted(account.others):
        await _check_router(check, api, other)
    return check.result()


async def _check_vnics(
    check: _Checkup, api: Client, refs: Sequence[str], *, by_vnic: bool
) -> Sequence[Subnet]:
    """Check our VNICs and return the subnets of theirs that can be read."""
    vnics = [vnic for ref in refs if (vnic := await check.ask("GetVnic", partial(api.vnic, ref))) is not None]
    for vnic in vnics:
        state = "on" if vnic.forwarding else "off; routerd sets it"
        check.note(f"skipSourceDestCheck of {vnic.ref}", "ok", state)
    if vnics:
        primary = next((vnic for vnic in vnics if vnic.primary), vnics[0])
        await check.ask("ListPrivateIps", partial(api.primary_private_ip, primary.ref))
        if by_vnic:
            await check.ask("ListVnicAttachments", partial(api.instance_of, primary.ref, primary.compartment))
        await check.attempt("UpdateVnic", partial(api.try_vnic, primary.ref))
    return [
        subnet
        for ref in dict.fromkeys(vnic.subnet for vnic in vnics)
        if (subnet := await check.ask("GetSubnet", partial(api.subnet, ref))) is not None
    ]


async def _check_tables(
    check: _Checkup, api: Client, refs: Sequence[str], vcns: set[str], limit: int
) -> None:
    """Check that the route tables belong to our VCN, may be written, and have room."""
    for ref in refs:
        table = await check.ask("GetRouteTable", partial(api.route_table, ref))
        if table is None:
            continue
        await check.attempt("UpdateRouteTable", partial(api.try_route_table, ref))
        if vcns and table.vcn not in vcns:
            check.note(
                f"VCN of {ref}",
                "missing",
                f"the table belongs to {table.vcn}, and our VNICs to {', '.join(sorted(vcns))}",
                "list only route tables of our own VCN in routeTables",
            )
        used = f"{len(table.rules)} of {limit} are in use"
        if len(table.rules) < limit:
            check.note(f"route rules of {ref}", "ok", used)
        else:
            check.note(
                f"route rules of {ref}",
                "missing",
                used,
                "remove rules, or have the service limit raised and set routeRulesLimit",
            )
    for permission in _ATTACH if refs else ():
        check.note(permission, "unknown", "only writing a rule can show it", remedy(permission))


async def _check_router(check: _Checkup, api: Client, ref: str) -> None:
    """Check that the private IP of another router of the site exists."""
    subject = f"router {ref}"
    try:
        address = await api.private_ip(ref)
    except ProviderError as error:
        check.failed(subject, error, "correct the OCID of its private IP in takeoverFrom, or remove it there")
    else:
        check.note(subject, "ok", str(address))
