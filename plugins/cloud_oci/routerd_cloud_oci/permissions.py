"""Which permissions the operations need, and the least policy that gives them. Pure.

From the reference "Details for the Core Services" of the OCI documentation: permissions by operation
and by verb and resource type. A verb holds more than is needed, so a statement is narrowed by
`request.permission` ("Advanced Policy Features").
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

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
"""What each operation needs, for rules that lead to private IPs."""


@attrs.frozen(kw_only=True)
class Statement:
    """A statement of a policy. `narrowed` when the verb gives more than `permissions`."""

    verb: str
    resource: str
    permissions: tuple[str, ...]
    narrowed: bool = False

    def text(self, *, group: str = "routerd", compartment: str = "network") -> str:
        """Return the statement as it is typed into a policy."""
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
"""What a leaf needs."""

WITHOUT_METADATA = (
    Statement(verb="inspect", resource="vnic-attachments", permissions=("VNIC_ATTACHMENT_READ",)),
    Statement(verb="inspect", resource="instances", permissions=("INSTANCE_INSPECT",)),
)
"""What it needs too where the metadata service is not asked and the instance is looked up by its VNIC."""


def remedy(*permissions: str) -> str:
    """Return what to add to the policy for some permissions."""
    statements = [each for each in (*POLICY, *WITHOUT_METADATA) if set(permissions) & set(each.permissions)]
    return "add to the policy: " + " and ".join(f'"{each.text()}"' for each in statements)
