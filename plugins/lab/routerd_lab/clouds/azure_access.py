"""Role-based access control of the emulated Azure: what an identity may do, where, and the refusals.

Shapes and rules: Microsoft Learn, "Understand Azure role definitions" (wildcards, `NotActions`, assignments
add up and hold below their scope), "Permissions - List For Resource" of the Authorization REST API; the
words of a refusal as in Azure/ARO-RP#558 and, for what a body refers to, microsoft/tyger#320.
"""

import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

NETWORK = "Microsoft.Network"

_JOINS = {
    "subnet": f"{NETWORK}/virtualNetworks/subnets/join/action",
    "networkSecurityGroup": f"{NETWORK}/networkSecurityGroups/join/action",
    "publicIPAddress": f"{NETWORK}/publicIPAddresses/join/action",
    "applicationSecurityGroups": f"{NETWORK}/applicationSecurityGroups/joinIpConfiguration/action",
    "loadBalancerBackendAddressPools": f"{NETWORK}/loadBalancers/backendAddressPools/join/action",
}


@attrs.frozen(kw_only=True)
class Assignment:
    """A role at a scope: a resource ID, or a part of one that ends before a slash."""

    scope: str
    actions: tuple[str, ...]
    not_actions: tuple[str, ...] = ()

    def reaches(self, ref: str) -> bool:
        """Say whether a resource is at the scope or below it."""
        return f"{ref.lower()}/".startswith(f"{self.scope.lower()}/")

    def allows(self, action: str) -> bool:
        """Say whether the role has an action."""
        return _matches(action, self.actions) and not _matches(action, self.not_actions)


class Access:
    """The role assignments of the one identity that there is."""

    def __init__(self, *assignments: Assignment) -> None:
        self.assignments = list(assignments)
        self.client = str(uuid.uuid4())

    def allows(self, action: str, ref: str) -> bool:
        """Say whether an action may be done to a resource."""
        return any(each.allows(action) for each in self.assignments if each.reaches(ref))

    def listed(self, ref: str) -> list[dict[str, Any]]:
        """Return what "Permissions - List" answers for a resource."""
        return [
            {
                "actions": list(each.actions),
                "notActions": list(each.not_actions),
                "dataActions": [],
                "notDataActions": [],
            }
            for each in self.assignments
            if each.reaches(ref)
        ]

    def unlinked(self, body: Mapping[str, Any]) -> tuple[str, str] | None:
        """Return the action that a body's references need and the identity lacks, and where it needs it."""
        for action, ref in _links(body):
            if not self.allows(action, ref):
                return action, ref
        return None

    def refusal(self, action: str, ref: str) -> str:
        """Return the words of `AuthorizationFailed`."""
        return (
            f"The client '{self.client}' with object id '{self.client}' does not have authorization to "
            f"perform action '{action}' over scope '{ref}' or the scope is invalid. If access was recently "
            "granted, please refresh your credentials."
        )

    def linked_refusal(self, action: str, ref: str, missing: tuple[str, str]) -> str:
        """Return the words of `LinkedAuthorizationFailed`."""
        return (
            f"The client '{self.client}' with object id '{self.client}' has permission to perform action "
            f"'{action}' on scope '{ref}'; however, it does not have permission to perform action(s) "
            f"'{missing[0]}' on the linked scope(s) '{missing[1]}' (respectively) or the linked scope(s) are "
            "invalid."
        )


def _links(body: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    properties = body.get("properties", {})
    for part in (properties, *(each["properties"] for each in properties.get("ipConfigurations", []))):
        for field, action in _JOINS.items():
            value = part.get(field) or []
            for each in value if isinstance(value, list) else [value]:
                yield action, each["id"]


def _matches(action: str, patterns: Iterable[str]) -> bool:
    return any(
        re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), action, re.IGNORECASE) for pattern in patterns
    )
