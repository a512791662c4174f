"""The limits that OCI sets us: calls a second, and the permissions of each operation. Pure.

The permissions by operation, and by verb and resource type, are those of the OCI reference "Details for
the Core Services". A verb grants more than an operation needs, so a statement is narrowed by
`request.permission` ("Advanced Policy Features").
"""

from collections.abc import Mapping

import attrs

# OCI publishes no figures for the Networking API, only that a limit exists for each tenancy and region
# ("API Errors", 429 TooManyRequests). Users report some 20 calls a second, shared with the whole tenancy.
CALLS_A_SECOND = 5.0
BURST = 10

ATTEMPTS = 5
"""Attempts at one read-merge-write while others write in between."""

PERMISSIONS: Mapping[str, tuple[str, ...]] = {
    "GetVnic": ("VNIC_READ",),
    "UpdateVnic": ("VNIC_UPDATE",),
    "ListPrivateIps": ("PRIVATE_IP_READ",),
    "GetPrivateIp": ("PRIVATE_IP_READ",),
    "GetSubnet": ("SUBNET_READ",),
    "GetVcn": ("VCN_READ",),
    "GetRouteTable": ("ROUTE_TABLE_READ",),
    "UpdateRouteTable": (
        "ROUTE_TABLE_UPDATE",
        "PRIVATE_IP_ROUTE_TABLE_ATTACH",
        "PRIVATE_IP_ROUTE_TABLE_DETACH",
    ),
    "ListVnicAttachments": ("VNIC_ATTACHMENT_READ", "INSTANCE_INSPECT"),
}
"""The permissions that each operation needs, for rules that lead to private IPs."""


@attrs.frozen(kw_only=True)
class Statement:
    """A statement of a policy; `narrowed` when the verb grants more than `permissions`."""

    verb: str
    resource: str
    permissions: tuple[str, ...]
    narrowed: bool = False

    def text(self, *, group: str = "routerd", compartment: str = "network") -> str:
        """Return the statement as the operator types it into a policy."""
        text = f"Allow dynamic-group {group} to {self.verb} {self.resource} in compartment {compartment}"
        if not self.narrowed:
            return text
        names = ", ".join(f"request.permission='{name}'" for name in self.permissions)
        return f"{text} where any {{{names}}}"


POLICY = (
    Statement(verb="use", resource="vnics", permissions=("VNIC_READ", "VNIC_UPDATE"), narrowed=True),
    Statement(verb="inspect", resource="subnets", permissions=("SUBNET_READ",)),
    Statement(verb="inspect", resource="vcns", permissions=("VCN_READ",)),
    Statement(
        verb="manage",
        resource="private-ips",
        permissions=("PRIVATE_IP_READ", "PRIVATE_IP_ROUTE_TABLE_ATTACH", "PRIVATE_IP_ROUTE_TABLE_DETACH"),
        narrowed=True,
    ),
    Statement(
        verb="manage",
        resource="route-tables",
        permissions=("ROUTE_TABLE_READ", "ROUTE_TABLE_UPDATE"),
        narrowed=True,
    ),
)
"""The policy that every leaf needs."""

WITHOUT_METADATA = (
    Statement(verb="inspect", resource="vnic-attachments", permissions=("VNIC_ATTACHMENT_READ",)),
    Statement(verb="inspect", resource="instances", permissions=("INSTANCE_INSPECT",)),
)
"""The policy for a leaf that skips the metadata service and looks its instance up by the VNIC."""


def remedy(*permissions: str) -> str:
    """Return the advice that adds some permissions to the policy."""
    statements = [each for each in (*POLICY, *WITHOUT_METADATA) if set(permissions) & set(each.permissions)]
    return "add to the policy: " + " and ".join(f'"{each.text()}"' for each in statements)
