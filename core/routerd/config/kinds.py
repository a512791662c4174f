"""The kinds of resource that the core knows, and those that it refuses with advice."""

from collections.abc import Iterator

from routerd.errors import Problem
from routerd.model import specs
from routerd.model.resource import API_SUFFIX, Resource, ResourceKind


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

_NO_CAPTURE = "routerd captures no addresses; remove it"
_NO_FIREWALL = "routerd filters nothing; use the host's own firewall"

RETIRED = {
    "BFD": "set timers.profile to fast",
    "DHCPv4Scope": "routerd serves no DHCP",
    "DynamicConfigSource": "name plugins in plugins:",
    "EventGroup": _NO_CAPTURE,
    "EventPeer": _NO_CAPTURE,
    "EventSubscription": _NO_CAPTURE,
    "FirewallPolicy": _NO_FIREWALL,
    "FirewallRule": _NO_FIREWALL,
    "FirewallZone": _NO_FIREWALL,
    "HybridRoute": "use IPv4Route",
    "KernelModule": "routerd loads a module when a tunnel needs it",
    "Link": "use Interface",
    "NetworkAdoption": "routerd adopts everything that carries its mark",
    "OverlayPeer": "use TunnelInterface and BGPPeer",
    "Package": "install packages with the host's own tools",
    "PathMTUPolicy": "routerd clamps TCP's segment size on every tunnel",
    "Plugin": "name plugins in plugins:",
    "SAMSubnetPolicy": _NO_CAPTURE,
    "StatePolicy": "remove it",
    "SystemdUnit": "install a unit with the host's own tools",
    "VirtualAddress": "routerd runs no VRRP",
    "WebConsole": "use routerd status --watch",
}
"""Kinds of earlier programs that routerd refuses, each with the remedy."""

_PROFILE = "use spec.timers.profile"

RETIRED_FIELDS = {
    ("*", "when"): "routerd has no conditions; remove it, or keep one file for each case",
    **{
        (kind, f"timers.{field}"): _PROFILE
        for kind in ("BGPRouter", "BGPPeer", "BGPDynamicPeer")
        for field in ("keepalive", "holdTime", "connectRetry")
    },
    ("BGPRouter", "vrf"): "routerd has one routing table; remove it",
    ("WireGuardInterface", "fwmark"): "remove it",
    ("WireGuardInterface", "table"): "remove it",
    ("SAMTransportProfile", "peers"): "list the peers in a SAMNodeSet and name it in spec.peersFrom",
    **{
        ("MobilityPool", field): _NO_CAPTURE
        for field in ("deliveryPolicy", "capturePolicy", "authority", "ipOwnershipPolicy", "publishMemberSet")
    },
}
"""Refused fields of earlier programs, by kind (`*` any) and path below `spec`, each with the remedy."""

_NO_EFFECT = {
    "BGPRouter": {
        "exportPolicy": "a leaf announces the addresses of its claim and what redistribute names",
        "gracefulRestart": "learned routes stay in the kernel while the speaker restarts",
        "communities.set.in": "routerd sets communities on announced routes",
        "communities.accept": "routerd keeps the communities of learned routes",
        "watcher": "the speaker reports changes by itself; a neighbour may send 4096 prefixes",
    },
    "BGPPeer": {
        "exportPolicy": "see BGPRouter",
        "bfd": "set timers.profile to fast",
    },
    "BGPDynamicPeer": {"exportPolicy": "see BGPRouter"},
    "SAMTransportProfile": {
        "bgp.exportPolicy": "see BGPRouter",
        "bgp.bfd": "set bgp.timersPreset to fast",
        "publishPeerGroup": "routerd makes no direct tunnels between leaves",
    },
    "SAMEnrollmentPolicy": {
        "directMesh": "routerd makes no direct tunnels between leaves",
        "revokeAfterInactive": "a claim ends by its ttl or by revocation",
    },
    "Sysctl": {"persistent": "the setting holds while routerd runs"},
    "TunnelInterface": {"pathMTU": "routerd clamps TCP's segment size on every tunnel"},
    "ProviderActionPolicy": {"enabled": "set mode: plan, approve or auto in the CloudProviderProfile"},
    "MobilityPool": {
        "profiles": "routerd captures no addresses",
        "staticHandovers": "routerd captures no addresses",
    },
}
"""Fields of earlier programs that routerd accepts without effect, each with what routerd does instead."""


def without_effect(resource: Resource[object]) -> Iterator[Problem]:
    """Yield a warning for each field of `resource` that routerd accepts without effect."""
    for path, reason in _NO_EFFECT.get(resource.id.kind, {}).items():
        if f"spec.{path}" in resource.source.lines:
            yield Problem(
                file=resource.source.file,
                line=resource.source.line_of(f"spec.{path}"),
                resource=resource.id.ref,
                path=f"spec.{path}",
                message="is accepted and has no effect",
                hint=reason,
                severity="warning",
            )
