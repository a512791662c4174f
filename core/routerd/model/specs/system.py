"""Kinds of the group `system`: kernel settings and the enrollment listener."""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal

import attrs

from routerd.model.addresses import IPAddress, IPNetwork
from routerd.model.specs.common import SecretSource


@attrs.frozen(kw_only=True)
class SysctlSpec:
    """One kernel setting, such as `net.ipv4.ip_forward`."""

    key: str
    value: str
    expected_value: str | None = None
    compare: Literal["exact", "atLeast"] = "exact"
    runtime: bool = True
    persistent: bool = False
    optional: bool = False


@attrs.frozen(kw_only=True)
class SysctlProfileSpec:
    """A set of kernel settings for routers, with overrides by key."""

    profile: Literal["router-linux"]
    overrides: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class ControlTLSSpec:
    """TLS of the enrollment listener; `client_ca_file` demands a client certificate."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = attrs.field(default=None, metadata={"key": "clientCAFile"})


LOOPBACK: tuple[IPNetwork, ...] = (IPv4Network("127.0.0.1/32"), IPv6Network("::1/128"))


@attrs.frozen(kw_only=True)
class ControlAPISpec:
    """The enrollment listener of a route reflector, on its own TCP port."""

    enabled: bool = True
    listen_address: IPAddress = IPv4Address("127.0.0.1")
    port: int = 65432
    allow_cidrs: tuple[IPNetwork, ...] = attrs.field(default=LOOPBACK, metadata={"key": "allowCIDRs"})
    token_from: SecretSource | None = None
    tls: ControlTLSSpec | None = None
