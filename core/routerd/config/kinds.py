"""The kinds of resource that the core knows, and those that are refused with advice."""

from __future__ import annotations

from routerd.model import specs
from routerd.model.resource import API_SUFFIX, ResourceKind


def _kind(
    group: str, kind: str, spec: type[object], teardown: str, *, runtime_only: bool = False
) -> ResourceKind:
    return ResourceKind(
        api_version=group + API_SUFFIX, kind=kind, spec=spec, teardown=teardown, runtime_only=runtime_only
    )


_NOTHING = "nothing; the resource only describes"

BUILTIN: tuple[ResourceKind, ...] = (
    _kind("net", "Interface", specs.InterfaceSpec, "nothing; the device is not ours"),
    _kind("net", "IPv4StaticAddress", specs.IPv4StaticAddressSpec, "the address, if routerd added it"),
    _kind("net", "IPv4StaticRoute", specs.IPv4StaticRouteSpec, "the route"),
    _kind("net", "IPv4Route", specs.IPv4RouteSpec, "the route"),
    _kind("net", "WireGuardInterface", specs.WireGuardInterfaceSpec, "the device; its key file stays"),
    _kind("net", "WireGuardPeer", specs.WireGuardPeerSpec, "the peer"),
    _kind("net", "BGPRouter", specs.BGPRouterSpec, "the speaker and every session, and the learned routes"),
    _kind("net", "BGPPeer", specs.BGPPeerSpec, "its sessions"),
    _kind("net", "BGPDynamicPeer", specs.BGPDynamicPeerSpec, "the sessions of its leaves"),
    _kind("hybrid", "TunnelInterface", specs.TunnelInterfaceSpec, "the tunnel"),
    _kind("hybrid", "CloudProviderProfile", specs.CloudProviderProfileSpec, "the routes that routerd wrote"),
    _kind("hybrid", "ProviderActionPolicy", specs.ProviderActionPolicySpec, _NOTHING),
    _kind("mobility", "SAMNodeSet", specs.SAMNodeSetSpec, "the tunnels to its nodes"),
    _kind("mobility", "SAMRRSet", specs.SAMRRSetSpec, "the tunnels to its members"),
    _kind("mobility", "SAMPeerGroup", specs.SAMPeerGroupSpec, "direct tunnels", runtime_only=True),
    _kind("mobility", "SAMEnrollmentPolicy", specs.SAMEnrollmentPolicySpec, "the tunnels of its leaves"),
    _kind(
        "mobility", "SAMEnrollmentClaim", specs.SAMEnrollmentClaimSpec, "the announcement of its addresses"
    ),
    _kind("mobility", "SAMEnrollmentClient", specs.SAMEnrollmentClientSpec, "renewal; the fetched set stays"),
    _kind("mobility", "SAMTransportProfile", specs.SAMTransportProfileSpec, "its tunnels and sessions"),
    _kind("mobility", "MobilityPool", specs.MobilityPoolSpec, "the admission of addresses inside it"),
    _kind("system", "Sysctl", specs.SysctlSpec, "the setting; its earlier value is restored"),
    _kind("system", "SysctlProfile", specs.SysctlProfileSpec, "the settings; earlier values are restored"),
    _kind("system", "ControlAPI", specs.ControlAPISpec, "the enrollment listener"),
)

RETIRED = {
    "DHCPv4Scope": "routerd serves no DHCP",
    "SystemdUnit": "install a unit with the host's own tools",
    "KernelModule": "modules are loaded when a tunnel needs them",
    "NetworkAdoption": "routerd adopts what carries its mark by itself",
    "Link": "use Interface",
    "StatePolicy": "remove it",
    "PathMTUPolicy": "TCP's segment size is clamped on every tunnel by itself",
}
"""Kinds of earlier files that are refused, each with what to do instead."""

RETIRED_FIELDS = {
    ("BGPRouter", "timers.keepalive"): "use spec.timers.profile",
    ("BGPRouter", "timers.holdTime"): "use spec.timers.profile",
    ("BGPRouter", "timers.connectRetry"): "use spec.timers.profile",
    ("WireGuardInterface", "fwmark"): "remove it",
    ("WireGuardInterface", "table"): "remove it",
}
"""Fields of earlier files, by kind and path below `spec`, each with what to do instead."""
