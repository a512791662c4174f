"""What the account allows: the permissions of the role, and how many routes a table may hold."""

from collections.abc import Awaitable, Callable, Iterable

import attrs

from routerd.errors import ProviderError
from routerd.model.fabric import FabricRouteKey
from routerd.spi import Clock
from routerd_cloud_aws.faults import QuotaError, route_name

READING = ("DescribeNetworkInterfaces", "DescribeRouteTables", "DescribeVpcs")
ON_INTERFACES = ("ModifyNetworkInterfaceAttribute",)
ON_TABLES = ("CreateRoute", "DeleteRoute", "ReplaceRoute")
OF_QUOTAS = ("GetServiceQuota", "GetAWSDefaultServiceQuota")

PERMISSIONS = frozenset(
    {f"ec2:{action}" for action in (*READING, *ON_INTERFACES, *ON_TABLES)}
    | {f"servicequotas:{action}" for action in OF_QUOTAS}
)
"""Everything that the role's policy must allow."""

SERVICE = "vpc"
CODE = "L-93826ACB"
"""The quota "Routes per route table": 500 by default, 50 until June 2025, 1000 at most."""

ASSUMED = 50
"""Routes that every table holds, where AWS does not say how many."""

ASK_AGAIN_SECONDS = 600.0
"""Minimum seconds between two questions after the quota."""


@attrs.frozen(kw_only=True)
class Quota:
    """The most routes of a table; `doubt` says why routerd assumes the number, where it does."""

    limit: int
    doubt: str = ""

    @property
    def advice(self) -> str:
        """Return what an operator can do to get more room."""
        if self.doubt:
            return (
                f"{self.limit} is assumed, because {self.doubt}; allow "
                f"{' and '.join(f'servicequotas:{each}' for each in OF_QUOTAS)}, or set routeQuota"
            )
        return (
            "aggregate or announce less, or have it raised (at most 1000): aws service-quotas "
            f"request-service-quota-increase --service-code {SERVICE} --quota-code {CODE} "
            "--desired-value NUMBER"
        )

    def full(self, key: FabricRouteKey, *, used: int, wanted: int) -> QuotaError:
        """Return the error of one of `wanted` routes for which its table has no room."""
        return QuotaError(
            f"{route_name(key)}: quota {CODE} reached, the table holds {used} of {self.limit} routes "
            f"(propagated and local ones not counted) and {wanted} more are wanted; {self.advice}"
        )

    def refused(self, error: QuotaError, *, used: int) -> QuotaError:
        """Return the error of a table that EC2 calls full and routerd does not.

        A prefix list counts as often as it may have entries, and the API does not say how many.
        """
        return QuotaError(
            f"{error}; routerd counts {used} of {self.limit} routes, and AWS counts a prefix list as many "
            f"times as it may have entries; {self.advice}"
        )


class RouteQuota:
    """The quota as it is known: asked for once, and again only while a table is full."""

    def __init__(self, clock: Clock, option: int | None) -> None:
        self._clock = clock
        self._asked: float | None = None
        self._short = False
        self._settled = option is not None
        self.known = (
            Quota(limit=option) if option is not None else _assumed("Service Quotas was not asked yet")
        )

    async def learn(self, ask: Callable[[], Awaitable[int]]) -> None:
        """Ask if that is due; without an answer the number stays as it was, or assumed."""
        now = self._clock.monotonic()
        due = self._asked is None or (self._short and now - self._asked >= ASK_AGAIN_SECONDS)
        if self._settled or not due:
            return
        self._asked, self._short = now, False
        try:
            self.known = Quota(limit=await ask())
        except ProviderError as error:
            if self.known.doubt:
                self.known = _assumed(str(error))

    def note(self, errors: Iterable[ProviderError]) -> None:
        """Remember whether a table was full: an operator may have the quota raised."""
        self._short |= any(isinstance(error, QuotaError) for error in errors)


def _assumed(why: str) -> Quota:
    return Quota(limit=ASSUMED, doubt=why)
