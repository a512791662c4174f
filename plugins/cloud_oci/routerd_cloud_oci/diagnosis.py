"""What `routerd doctor cloud` says of an OCI account: permissions by their own names, then the network.

OCI has no dry run. What reads is read. A write is tried with an empty body and an ETag that no
resource has: without the permission the answer is 404, and otherwise 412. OCI does not document that
it looks at permissions before ETags, so 412 is reported as not known, with what speaks for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Literal, TypeVar

from routerd.errors import ProviderError, TransientError
from routerd.model.fabric import Finding
from routerd_cloud_oci.api import Api, Subnet
from routerd_cloud_oci.faults import DeniedError, UnauthenticatedError
from routerd_cloud_oci.permissions import PERMISSIONS, remedy

T = TypeVar("T")
State = Literal["ok", "missing", "unknown"]

_ATTACH = ("PRIVATE_IP_ROUTE_TABLE_ATTACH", "PRIVATE_IP_ROUTE_TABLE_DETACH")
_WEIGHT: dict[State, int] = {"ok": 0, "unknown": 1, "missing": 2}


class _Checkup:
    """Collects findings, one for each subject: the worst, because one VNIC may be barred and another not."""

    def __init__(self) -> None:
        self._findings: dict[str, Finding] = {}
        self._silence: ProviderError | None = None
        self._answered = False

    def note(self, subject: str, state: State, detail: str = "", advice: str = "") -> None:
        """Keep a finding unless a worse one is known."""
        known = self._findings.get(subject)
        if known is None or _WEIGHT[state] > _WEIGHT[known.state]:
            self._findings[subject] = Finding(subject=subject, state=state, detail=detail, remedy=advice)

    async def ask(self, operation: str, call: Callable[[], Awaitable[T]]) -> T | None:
        """Make a call and note its permissions; return nothing when it fails."""
        permissions = PERMISSIONS[operation]
        try:
            answer = await call()
        except UnauthenticatedError:
            # Whatever else is asked has the same answer.
            raise
        except DeniedError as error:
            self._answered = True
            for permission in permissions:
                self.note(permission, "missing", str(error), remedy(permission))
        except TransientError as error:
            self._silence = error
            for permission in permissions:
                self.note(permission, "unknown", str(error), "try again")
        except ProviderError as error:
            self._answered = True
            for permission in permissions:
                self.note(permission, "unknown", str(error))
        else:
            self._answered = True
            for permission in permissions:
                self.note(permission, "ok", operation)
            return answer
        return None

    async def attempt(self, operation: str, call: Callable[[], Awaitable[str]]) -> None:
        """Make a write that cannot succeed, and note its permission."""
        permission = PERMISSIONS[operation][0]
        try:
            outcome = await call()
        except DeniedError as error:
            self.note(permission, "missing", str(error), remedy(permission))
        except ProviderError as error:
            self.note(permission, "unknown", str(error))
        else:
            if outcome == "accepted":
                self.note(permission, "ok", operation)
            else:
                detail = f"{operation} is not refused (412), though OCI does not say that this proves it"
                self.note(permission, "unknown", detail, f"if it is refused later, {remedy(permission)}")

    def result(self) -> Sequence[Finding]:
        """Return the findings; raises the last `TransientError` when nothing answered at all."""
        if self._silence is not None and not self._answered:
            raise self._silence
        return tuple(self._findings.values())


async def diagnose(
    api: Api,
    *,
    vnics: Sequence[str],
    tables: Sequence[str] | None,
    others: frozenset[str],
    limit: int,
    by_vnic: bool,
) -> Sequence[Finding]:
    """Return what was checked; raises `ProviderError` when nothing answers or nobody knows us.

    `tables` are those of the options (none: those of our subnets); `by_vnic` says that the instance
    has to be looked up by its VNIC; `others` are the site's other routers.
    """
    check = _Checkup()
    subnets = await _check_vnics(check, api, vnics, by_vnic=by_vnic)
    vcns = dict.fromkeys(subnet.vcn for subnet in subnets)
    for vcn in vcns:
        await check.ask("GetVcn", partial(api.vcn_networks, vcn))
    refs = tables
    if refs is None:
        refs = tuple(dict.fromkeys(subnet.route_table for subnet in subnets))
        if not refs:
            check.note("route tables", "unknown", "those of our subnets could not be read")
    elif not refs:
        check.note("route tables", "ok", "routeTables is empty: no route is written")
    await _check_tables(check, api, refs, set(vcns), limit)
    for other in sorted(others):
        await _check_router(check, api, other)
    return check.result()


async def _check_vnics(check: _Checkup, api: Api, refs: Sequence[str], *, by_vnic: bool) -> Sequence[Subnet]:
    """Check our VNICs and return their subnets, as far as they can be read."""
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


async def _check_tables(check: _Checkup, api: Api, refs: Sequence[str], vcns: set[str], limit: int) -> None:
    """Check that the route tables are of our VCN, may be written, and have room."""
    for ref in refs:
        table = await check.ask("GetRouteTable", partial(api.route_table, ref))
        if table is None:
            continue
        await check.attempt("UpdateRouteTable", partial(api.try_route_table, ref))
        if vcns and table.vcn not in vcns:
            check.note(
                f"VCN of {ref}",
                "missing",
                f"the table belongs to {table.vcn}, our VNICs are in {', '.join(sorted(vcns))}",
                "name route tables of our own VCN in routeTables",
            )
        used = f"{len(table.rules)} of {limit} are in use"
        if len(table.rules) < limit:
            check.note(f"route rules of {ref}", "ok", used)
        else:
            advice = "remove rules, or have the service limit raised and set routeRulesLimit"
            check.note(f"route rules of {ref}", "missing", used, advice)
    for permission in _ATTACH if refs else ():
        check.note(permission, "unknown", "it can be tried only by writing a rule", remedy(permission))


async def _check_router(check: _Checkup, api: Api, ref: str) -> None:
    """Check that another router of the site is there."""
    subject = f"router {ref}"
    try:
        address = await api.private_ip(ref)
    except DeniedError as error:
        check.note(subject, "missing", str(error), "correct the OCID of its private IP, or take it out")
    except ProviderError as error:
        check.note(subject, "unknown", str(error), "try again")
    else:
        check.note(subject, "ok", str(address))
