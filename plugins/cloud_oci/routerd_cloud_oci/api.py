"""What the fabric needs of OCI, and the values it deals in. The SDK is in `client`."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Literal, Protocol

import attrs

from routerd_cloud_oci.rules import RouteTable, Rule

Trial = Literal["accepted", "unmatched"]
"""What became of a request that was to fail: it was carried out, or its ETag did not match (412)."""


@attrs.frozen(kw_only=True)
class Vnic:
    """A VNIC as the API shows it; `forwarding` is `skipSourceDestCheck`."""

    ref: str
    address: IPv4Address
    subnet: str
    compartment: str
    primary: bool
    forwarding: bool
    etag: str


@attrs.frozen(kw_only=True)
class Subnet:
    """A subnet: in which VCN, and which route table its VNICs use."""

    ref: str
    vcn: str
    route_table: str


class Api(Protocol):
    """What the fabric needs of OCI. Every method raises `ProviderError`."""

    async def vnic(self, ref: str) -> Vnic:
        """GetVnic."""
        ...

    async def set_forwarding(self, ref: str, enabled: bool, etag: str) -> None:
        """UpdateVnic of the one field; `StaleError` when the VNIC changed since the ETag."""
        ...

    async def primary_private_ip(self, vnic: str) -> str:
        """ListPrivateIps; return the OCID of the VNIC's primary private IP."""
        ...

    async def instance_of(self, vnic: str, compartment: str) -> str:
        """ListVnicAttachments; return the OCID of the instance that has the VNIC."""
        ...

    async def private_ip(self, ref: str) -> IPv4Address:
        """GetPrivateIp; `DeniedError` when it is gone or may not be seen."""
        ...

    async def subnet(self, ref: str) -> Subnet:
        """GetSubnet."""
        ...

    async def vcn_networks(self, ref: str) -> tuple[IPv4Network, ...]:
        """GetVcn; return its IPv4 prefixes."""
        ...

    async def route_table(self, ref: str) -> RouteTable:
        """GetRouteTable."""
        ...

    async def replace_rules(self, ref: str, rules: Sequence[Rule], etag: str) -> None:
        """UpdateRouteTable; `StaleError` when the table changed since the ETag."""
        ...

    async def try_vnic(self, ref: str) -> Trial:
        """UpdateVnic of nothing, under an ETag that no VNIC has; `DeniedError` without the permission."""
        ...

    async def try_route_table(self, ref: str) -> Trial:
        """UpdateRouteTable of nothing, under an ETag that no table has; `DeniedError` as above."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...
