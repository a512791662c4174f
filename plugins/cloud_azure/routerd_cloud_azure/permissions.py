"""What the roles of a router allow, and whether an identity has them. Pure.

`ROLE` and `SUBSCRIPTION_ROLE` are the custom roles of `docs/clouds/azure.md`; a test holds them together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

NETWORK = "Microsoft.Network"

INTERFACE = (f"{NETWORK}/networkInterfaces/read", f"{NETWORK}/networkInterfaces/write")
SUBNET = (f"{NETWORK}/virtualNetworks/subnets/read",)
TABLE = (
    f"{NETWORK}/routeTables/read",
    f"{NETWORK}/routeTables/routes/read",
    f"{NETWORK}/routeTables/routes/write",
    f"{NETWORK}/routeTables/routes/delete",
)

WHOLE_TABLE = f"{NETWORK}/routeTables/write"
"""Lets many routes be written at once; without it they are written one by one."""
LIMITS = f"{NETWORK}/locations/usages/read"
"""Tells the subscription's limit of routes; without it the lowest documented one is assumed."""
OPERATIONS = f"{NETWORK}/locations/operations/read"
"""Follows an asynchronous operation, where Azure asks for it (Azure/azure-xplat-cli#2051)."""
OWN = "Microsoft.Authorization/permissions/read"
"""Lets an identity see what it is allowed."""

JOINS = {
    "subnet": f"{NETWORK}/virtualNetworks/subnets/join/action",
    "networkSecurityGroup": f"{NETWORK}/networkSecurityGroups/join/action",
    "publicIPAddress": f"{NETWORK}/publicIPAddresses/join/action",
}
"""What writing an interface needs at what it refers to, by the field ("Linked access checks")."""

RARE_JOINS = {
    "applicationSecurityGroups": f"{NETWORK}/applicationSecurityGroups/joinIpConfiguration/action",
    "loadBalancerBackendAddressPools": f"{NETWORK}/loadBalancers/backendAddressPools/join/action",
    "loadBalancerInboundNatRules": f"{NETWORK}/loadBalancers/inboundNatRules/join/action",
    "applicationGatewayBackendAddressPools": f"{NETWORK}/applicationGateways/backendAddressPools/join/action",
}
"""The same for what a router's interface seldom has; they are not in `ROLE`."""

ROLE = (*INTERFACE, *SUBNET, *JOINS.values(), *TABLE, WHOLE_TABLE, OWN)
"""For the resource groups of the interfaces, their network and the route tables."""

SUBSCRIPTION_ROLE = (LIMITS, OPERATIONS)
"""For the subscription, which these belong to; a router does without."""


@attrs.frozen(kw_only=True)
class Grant:
    """What one role assignment allows: actions with wildcards, less some."""

    actions: tuple[str, ...]
    not_actions: tuple[str, ...]

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Grant:
        """Return the grant of an answer (Any: JSON of the API)."""
        return cls(actions=tuple(body.get("actions", ())), not_actions=tuple(body.get("notActions", ())))

    def allows(self, action: str) -> bool:
        """Say whether the assignment covers an action."""
        return _among(action, self.actions) and not _among(action, self.not_actions)


def allowed(grants: Sequence[Grant], action: str) -> bool:
    """Say whether one of the assignments covers an action; they add up."""
    return any(grant.allows(action) for grant in grants)


def referred(body: Mapping[str, Any]) -> dict[str, set[str]]:
    """Return the resource IDs that an interface refers to, by the join action that writing it needs there.

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
