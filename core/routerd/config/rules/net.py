"""Rules of the group `net`: interfaces, addresses, routes, WireGuard and BGP."""

from routerd.config.rules.checker import (
    AnyResource,
    Checker,
    asn,
    communities,
    endpoint,
    keepalive,
    learns,
    link_name,
    mtu,
    peers_source,
    policy,
    port,
    unique,
    unused_policy,
)
from routerd.model import specs
from routerd.model.addresses import inside
from routerd.model.resource import Resource
from routerd.model.specs.devices import wireguard_device


def interface(c: Checker, r: Resource[specs.InterfaceSpec]) -> None:
    """Check a device under a name of ours."""
    link_name(c, r, "spec.ifname", r.spec.ifname)
    mtu(c, r, r.spec.mtu)


def address(c: Checker, r: Resource[specs.IPv4StaticAddressSpec]) -> None:
    """Check a static address."""
    c.refer(r, "spec.interface", r.spec.interface, "Interface", "WireGuardInterface")
    if r.spec.allow_overlap and not r.spec.allow_overlap_reason.strip():
        c.report(r, "spec.allowOverlapReason", "is required with allowOverlap")


def static_route(c: Checker, r: Resource[specs.IPv4StaticRouteSpec]) -> None:
    """Check a static route."""
    if r.spec.via is None and r.spec.interface is None:
        c.report(r, "spec.via", "give via, interface, or both")
    c.refer(r, "spec.interface", r.spec.interface, "Interface", "WireGuardInterface")
    c.within(r, "spec.metric", r.spec.metric, 0, 4294967295)


def route(c: Checker, r: Resource[specs.IPv4RouteSpec]) -> None:
    """Check a route to a device or a blackhole."""
    s = r.spec
    c.within(r, "spec.metric", s.metric, 0, 4294967295)
    for path, value in (("spec.deviceFrom", s.device_from), ("spec.gatewayFrom", s.gateway_from)):
        if value is not None:
            c.report(r, path, "is not supported", "write the value itself")
            return
    if s.type == "unicast" and s.device is None and s.gateway is None:
        c.report(r, "spec.device", "give device, gateway, or both")
    elif s.type == "blackhole" and (s.device is not None or s.gateway is not None):
        c.report(r, "spec.type", "a blackhole has neither device nor gateway")


def wireguard_interface(c: Checker, r: Resource[specs.WireGuardInterfaceSpec]) -> None:
    """Check a WireGuard device."""
    s = r.spec
    link_name(c, r, "spec.ifname" if s.ifname is not None else "metadata.name", wireguard_device(r.name, s))
    mtu(c, r, s.mtu)
    port(c, r, "spec.listenPort", s.listen_port)
    if s.private_key is not None:
        c.report(r, "spec.privateKey", "a private key must not be in the file", "use privateKeyFile")
    elif s.private_key_file is None:
        c.report(r, "spec.privateKeyFile", "is required", "a missing file is made with a new key")
    for index, source in enumerate(s.peers_from):
        peers_source(c, r, f"spec.peersFrom[{index}]", source)


def wireguard_peer(c: Checker, r: Resource[specs.WireGuardPeerSpec]) -> None:
    """Check a static WireGuard peer."""
    c.refer(r, "spec.interface", r.spec.interface, "WireGuardInterface")
    if not r.spec.allowed_ips:
        c.report(r, "spec.allowedIPs", "is required")
    if r.spec.endpoint:
        endpoint(c, r, "spec.endpoint", r.spec.endpoint)
    if r.spec.preshared_key is not None:
        c.report(r, "spec.presharedKey", "a secret must not be in the file", "use presharedKeyFile")
    keepalive(c, r, "spec.persistentKeepalive", r.spec.persistent_keepalive)


def bgp_router(c: Checker, r: Resource[specs.BGPRouterSpec]) -> None:
    """Check the BGP speaker."""
    s = r.spec
    asn(c, r, "spec.asn", s.asn)
    port(c, r, "spec.listen.port", s.listen.port)
    policy(c, r, "spec.importPolicy", s.import_policy)
    unused_policy(c, r, "spec.exportPolicy", s.export_policy)
    communities(c, r, "spec.communities.accept", s.communities.accept)
    communities(c, r, "spec.communities.set.in", s.communities.set.inbound)
    communities(c, r, "spec.communities.set.out", s.communities.set.outbound)
    c.within(r, "spec.watcher.maxPrefixes", s.watcher.max_prefixes, 1, 999999)
    imported = s.import_policy.allowed_prefixes if s.import_policy else ()
    for part, prefixes in (
        ("connected", s.redistribute.connected.allowed_prefixes),
        ("static", s.redistribute.static.allowed_prefixes),
    ):
        for index, prefix in enumerate(prefixes):
            for other in imported:
                # A leaf imports a pool and announces one address of it: only an equal or wider
                # prefix would announce the imported routes again.
                if inside(other, prefix):
                    c.report(
                        r,
                        f"spec.redistribute.{part}.allowedPrefixes[{index}]",
                        f"{prefix} covers {other} of spec.importPolicy",
                    )


def bgp_peer(c: Checker, r: Resource[specs.BGPPeerSpec]) -> None:
    """Check sessions with fixed neighbours."""
    policy(c, r, "spec.importPolicy", r.spec.import_policy)
    unused_policy(c, r, "spec.exportPolicy", r.spec.export_policy)
    if not r.spec.peers:
        c.report(r, "spec.peers", "is empty")
    unique(c, r, "spec.peers", [str(peer) for peer in r.spec.peers])
    learns(c, r, "spec.importPolicy", r.spec.import_policy, _session(c, r))


def bgp_dynamic_peer(c: Checker, r: Resource[specs.BGPDynamicPeerSpec]) -> None:
    """Check the sessions of admitted leaves."""
    router = _session(c, r)
    if not r.spec.listen.source_prefixes:
        c.report(r, "spec.listen.sourcePrefixes", "is empty")
    own = r.spec.import_policy
    policy(c, r, "spec.importPolicy", own)
    unused_policy(c, r, "spec.exportPolicy", r.spec.export_policy)
    if router is None and own is None:
        return
    effective = own or (router.spec.import_policy if router is not None else None)
    if effective is None or not effective.allowed_prefixes:
        c.report(r, "spec.importPolicy.allowedPrefixes", "is required, here or in the BGPRouter")
    elif (effective.allowed_prefix_length_min, effective.allowed_prefix_length_max) != (32, 32):
        c.report(
            r,
            "spec.importPolicy",
            "allowedPrefixLengthMin and allowedPrefixLengthMax must both be 32",
            "leaves announce host addresses only",
        )


def _session(c: Checker, r: AnyResource) -> AnyResource | None:
    """Check the fields that both kinds of peer share; return their router."""
    router = c.refer(r, "spec.routerRef", r.spec.router_ref, "BGPRouter")
    asn(c, r, "spec.peerASN", r.spec.peer_asn)
    c.within(r, "spec.ebgpMultihop", r.spec.ebgp_multihop, 0, 255)
    if r.spec.password_from is not None:
        # Without this error the session would run without the operator's password.
        c.report(r, "spec.passwordFrom", "is not read by this version", "use password")
    if r.spec.route_reflector_client and router is not None and r.spec.peer_asn != router.spec.asn:
        c.report(
            r,
            "spec.peerASN",
            f"a route-reflector client has our own AS {router.spec.asn}, not {r.spec.peer_asn}",
        )
    return router
