"""Rules of the groups `hybrid` and `system`: explicit tunnels, clouds, kernel settings, the listener."""

import re
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from routerd.config.rules import leaf
from routerd.config.rules.checker import Checker, link_name, mtu, port, secret, tunnel_fields
from routerd.model import specs
from routerd.model.resource import Resource


def control_api(c: Checker, r: Resource[specs.ControlAPISpec]) -> None:
    """Check the enrollment listener."""
    port(c, r, "spec.port", r.spec.port)
    if not r.spec.allow_cidrs:
        c.report(r, "spec.allowCIDRs", "is empty, so no leaf could enroll; name the leaves' networks")
    missing = [name for name, value in (("tls", r.spec.tls), ("tokenFrom", r.spec.token_from)) if not value]
    if missing:
        for path, prefix in _whole_worlds(r.spec):
            c.report(
                r,
                path,
                f"{prefix} lets every host in, and {' and '.join(missing)} of ControlAPI is missing",
                f"name the leaves' networks, or add {' and '.join(missing)}",
            )
    if r.spec.token_from is not None and r.spec.tls is None and not r.spec.listen_address.is_loopback:
        c.warn(
            r,
            "spec.tokenFrom",
            f"is sent in clear text to {r.spec.listen_address}: a host on the way can read and use it",
            "add tls",
        )
    secret(c, r, "spec.tokenFrom", r.spec.token_from)


def _whole_worlds(spec: specs.ControlAPISpec) -> Iterator[tuple[str, IPv4Network | IPv6Network]]:
    """Yield the prefixes that let every host in: each `/0`, or several that add up to one."""
    found = False
    for index, prefix in enumerate(spec.allow_cidrs):
        if prefix.prefixlen == 0:
            found = True
            yield f"spec.allowCIDRs[{index}]", prefix
    if found:
        return
    four = collapse_addresses(each for each in spec.allow_cidrs if isinstance(each, IPv4Network))
    six = collapse_addresses(each for each in spec.allow_cidrs if isinstance(each, IPv6Network))
    pieces: list[IPv4Network | IPv6Network] = [*four, *six]
    for whole in pieces:
        if whole.prefixlen == 0:
            yield "spec.allowCIDRs", whole


def tunnel(c: Checker, r: Resource[specs.TunnelInterfaceSpec]) -> None:
    """Check an explicit tunnel."""
    s = r.spec
    link_name(c, r, "metadata.name", r.name)
    c.exactly_one(r, "local", "local_from")
    c.exactly_one(r, "remote", "remote_from")
    for path, source in (("spec.localFrom", s.local_from), ("spec.remoteFrom", s.remote_from)):
        if source is not None:
            c.report(r, path, "is not supported", "write the address itself")
    if s.local is not None and s.local == s.remote:
        c.report(r, "spec.remote", f"{s.remote} is also spec.local")
    mtu(c, r, s.mtu)
    tunnel_fields(c, r)
    c.within(r, "spec.ttl", s.ttl, 1, 255)
    if not s.trusted_underlay:
        c.report(
            r,
            "spec.trustedUnderlay",
            "must be true: the tunnel carries clear text and the underlay is trusted with it",
        )
    c.refer(r, "spec.underlayInterface", s.underlay_interface, "Interface", "WireGuardInterface")


_SHORTEST_RESYNC = timedelta(minutes=1)


def cloud_profile(c: Checker, r: Resource[specs.CloudProviderProfileSpec]) -> None:
    """Check a cloud's profile; the provider's schema checks its own options."""
    if not r.spec.provider.strip():
        c.report(r, "spec.provider", "is empty", "aws, azure, oci or pve")
    if r.spec.resync_interval < _SHORTEST_RESYNC:
        c.report(
            r,
            "spec.resyncInterval",
            "is shorter than a minute, and each reading calls the cloud's API",
            "write 1m or more; 15m is the default",
        )
    leaf.takeover(c, r)
    if r.spec.auth is not None and r.spec.auth.mode == "external-command":
        c.warn(
            r,
            "spec.auth.mode",
            "routerd runs no command for credentials; it uses those of the host",
            "write ambient, or leave auth out",
        )


def sysctl(c: Checker, r: Resource[specs.SysctlSpec]) -> None:
    """Check one kernel setting."""
    key = r.spec.key
    if not re.fullmatch(r"[A-Za-z0-9_*-]+([./][A-Za-z0-9_:*-]+)+", key):
        c.report(r, "spec.key", f'"{key}" is not a kernel setting such as net.ipv4.ip_forward')
    elif r.spec.compare == "atLeast" and not re.fullmatch(
        r"-?\d+", (r.spec.expected_value or r.spec.value).strip()
    ):
        c.report(r, "spec.compare", "atLeast needs a number to compare with")
