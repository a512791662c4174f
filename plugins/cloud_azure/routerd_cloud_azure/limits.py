"""What the subscription allows: the permissions of a router, and how many routes a table may hold.

`ROLE` and `SUBSCRIPTION_ROLE` are the custom roles of `docs/clouds/azure.md`; a test compares them.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from routerd.errors import ProviderError, TransientError
from routerd.model.fabric import FabricRouteKey
from routerd.spi import Logger
from routerd_cloud_azure.faults import QuotaError, more_room, route_name

NETWORK = "Microsoft.Network"

READ_INTERFACE = f"{NETWORK}/networkInterfaces/read"
WRITE_INTERFACE = f"{NETWORK}/networkInterfaces/write"
READ_SUBNET = f"{NETWORK}/virtualNetworks/subnets/read"
READ_TABLE = f"{NETWORK}/routeTables/read"
WRITE_ROUTE = f"{NETWORK}/routeTables/routes/write"
DELETE_ROUTE = f"{NETWORK}/routeTables/routes/delete"

INTERFACE = (READ_INTERFACE, WRITE_INTERFACE)
TABLE = (READ_TABLE, f"{NETWORK}/routeTables/routes/read", WRITE_ROUTE, DELETE_ROUTE)

WRITE_TABLE = f"{NETWORK}/routeTables/write"
"""Lets many routes be written at once; without it routerd writes them one by one."""
LIMITS = f"{NETWORK}/locations/usages/read"
"""Shows the subscription's limit of routes; without it routerd assumes the default."""
OPERATIONS = f"{NETWORK}/locations/operations/read"
"""Follows an asynchronous operation, where Azure requires it (Azure/azure-xplat-cli#2051)."""
OWN = "Microsoft.Authorization/permissions/read"
"""Lets an identity see its own permissions."""

JOINS = {
    "subnet": f"{NETWORK}/virtualNetworks/subnets/join/action",
    "networkSecurityGroup": f"{NETWORK}/networkSecurityGroups/join/action",
    "publicIPAddress": f"{NETWORK}/publicIPAddresses/join/action",
}
"""Permissions at the resources that an interface refers to, by the field; a write of the interface needs
them ("Linked access checks")."""

RARE_JOINS = {
    "applicationSecurityGroups": f"{NETWORK}/applicationSecurityGroups/joinIpConfiguration/action",
    "loadBalancerBackendAddressPools": f"{NETWORK}/loadBalancers/backendAddressPools/join/action",
    "loadBalancerInboundNatRules": f"{NETWORK}/loadBalancers/inboundNatRules/join/action",
    "applicationGatewayBackendAddressPools": f"{NETWORK}/applicationGateways/backendAddressPools/join/action",
}
"""The same for references that a router's interface seldom has; they are not in `ROLE`."""

ROLE = (*INTERFACE, READ_SUBNET, *JOINS.values(), *TABLE, WRITE_TABLE, OWN)
"""For the resource groups of the interfaces, their network and the route tables."""

SUBSCRIPTION_ROLE = (LIMITS, OPERATIONS)
"""For the subscription, to which these belong; a router works without them."""


@attrs.frozen(kw_only=True)
class Limit:
    """The most routes of a table; `source` says where the number comes from."""

    routes: int
    source: str

    def __str__(self) -> str:
        return f"{self.routes} routes a table, {self.source}"

    def full(self, key: FabricRouteKey, used: int) -> QuotaError:
        """Return the error of a route for which its table has no room."""
        return QuotaError(
            f"{route_name(key)}: quota reached, {used} of {self.routes} routes are in use ({self.source}); "
            f"{more_room()}"
        )


ASSUMED = Limit(routes=1000, source=f"the default; grant {LIMITS} or set routesPerRouteTable")
"""Routes of a table by default ("Azure subscription and service limits": 1,000 since spring 2026). A
subscription that still has 400 refuses the 401st route, and the message names the limit."""


class RouteLimit:
    """The limit as it is known: set by the option, told by Azure once, or assumed until Azure tells it.

    `location` is the region of our interfaces, empty before they are known.
    """

    def __init__(self, log: Logger, option: int) -> None:
        self._log = log
        self._settled = bool(option)
        self.known = Limit(routes=option, source="set by routesPerRouteTable") if option else ASSUMED
        self.location = ""

    async def learn(self, ask: Callable[[str], Awaitable[int | None]]) -> None:
        """Ask Azure if that is due."""
        if self._settled or not self.location:
            return
        try:
            routes = await ask(self.location)
        except TransientError as error:
            self._log.warning("azure.limit.unknown", reason=str(error))
            return
        except ProviderError as error:
            self._log.info("azure.limit.unknown", reason=str(error))
            routes = None
        self._settled = True
        if routes:
            self.known = Limit(routes=routes, source="the limit of the subscription")


@attrs.frozen(kw_only=True)
class Grant:
    """The permissions of one role assignment: actions with wildcards, without some."""

    actions: tuple[str, ...]
    not_actions: tuple[str, ...]

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "Grant":
        """Return the grant of an answer (Any: JSON of the API)."""
        return cls(actions=tuple(body.get("actions", ())), not_actions=tuple(body.get("notActions", ())))

    def allows(self, action: str) -> bool:
        """Say whether the assignment covers an action."""
        return _among(action, self.actions) and not _among(action, self.not_actions)


def allowed(grants: Sequence[Grant], action: str) -> bool:
    """Say whether one of the assignments covers an action; they add up."""
    return any(grant.allows(action) for grant in grants)


def referred(body: Mapping[str, Any]) -> dict[str, set[str]]:
    """Return the resource IDs that an interface refers to, by the join action that a write needs there.

    `body` is the JSON of the interface (hence Any).
    """
    properties = body["properties"]
    parts = [properties, *(each.get("properties", {}) for each in properties.get("ipConfigurations", []))]
    found: dict[str, set[str]] = {}
    for field, action in {**JOINS, **RARE_JOINS}.items():
        for part in parts:
            for each in _listed(part.get(field)):
                found.setdefault(action, set()).add(each["id"])
    return found


def _listed(value: Any) -> Iterable[Mapping[str, Any]]:  # noqa: ANN401 - Any: JSON of the API
    if not value:
        return []
    return value if isinstance(value, list) else [value]


def _among(action: str, patterns: Sequence[str]) -> bool:
    """Say whether a pattern matches; `*` stands for any text, slashes too, and case is ignored."""
    return any(
        re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), action, re.IGNORECASE)
        for pattern in patterns
    )
