"""Rules of the group `mobility` for both ends of a tunnel: profiles, sets of nodes, and policies."""

import re
from datetime import timedelta
from ipaddress import ip_interface

from routerd.config.document import ipv6_hint
from routerd.config.rules.checker import (
    NAME,
    AnyResource,
    Checker,
    asn,
    endpoint,
    keepalive,
    learns,
    peers_source,
    policy,
    secret,
    tunnel_fields,
    unique,
    unused_policy,
)
from routerd.model import specs
from routerd.model.names import Ref
from routerd.model.resource import Resource
from routerd.model.specs.enrollment import DEFAULT_JOIN_METHOD, NO_JOIN_METHOD, PolicyWireGuardSpec
from routerd.model.specs.mobility import NodeSpec, ProfileBGPSpec

_PATH_NAME = r"[A-Za-z0-9_][A-Za-z0-9._:@+-]{0,252}"
_TUNNEL_BOUNDS = ((None, None), (0, 0), (32, 32))


def profile(c: Checker, r: Resource[specs.SAMTransportProfileSpec]) -> None:
    """Check how this router makes tunnels."""
    s = r.spec
    if s.inner_prefix.prefixlen > 31:
        c.report(r, "spec.innerPrefix", f"{s.inner_prefix} holds no /31")
    c.exactly_one(r, "local_endpoint", "local_endpoint_from")
    if s.local_endpoint_from is not None:
        c.refer(r, "spec.localEndpointFrom.resource", s.local_endpoint_from.resource, "CloudProviderProfile")
    tunnel_fields(c, r)
    underlay = c.refer(r, "spec.underlayInterface", s.underlay_interface, "WireGuardInterface", "Interface")
    if s.encrypted and underlay is not None:
        _encrypting(c, r, underlay.name)
    if not s.peers_from and not s.publish_peer_group:
        c.report(r, "spec.peersFrom", "is required")
    for index, source in enumerate(s.peers_from):
        peers_source(c, r, f"spec.peersFrom[{index}]", source)
    if s.bgp is not None:
        _profile_bgp(c, r, s.bgp)


def _encrypting(c: Checker, r: Resource[specs.SAMTransportProfileSpec], underlay: str) -> None:
    """Check that the device below encrypted tunnels is one of the transport that `encryption` names."""
    # An `Interface` may have the same name as a `WireGuardInterface`.
    modes = {found.name: found.spec.mode for found in c.of(specs.WireGuardInterfaceSpec)}
    if underlay in c.broken:
        return
    begin = f'encryption is {r.spec.encryption}, but "{r.spec.underlay_interface}"'
    if underlay not in modes:
        c.report(r, "spec.underlayInterface", f"{begin} is not a WireGuardInterface")
    elif modes[underlay] != r.spec.encryption:
        c.report(r, "spec.underlayInterface", f"{begin} is a device of mode {modes[underlay]}")


def _profile_bgp(c: Checker, r: AnyResource, bgp: ProfileBGPSpec) -> None:
    router = c.refer(r, "spec.bgp.routerRef", bgp.router_ref, "BGPRouter")
    asn(c, r, "spec.bgp.peerASN", bgp.peer_asn)
    policy(c, r, "spec.bgp.importPolicy", bgp.import_policy)
    unused_policy(c, r, "spec.bgp.exportPolicy", bgp.export_policy)
    c.within(r, "spec.bgp.ebgpMultihop", bgp.ebgp_multihop, 0, 255)
    if bgp.timers is not None and bgp.timers.profile != bgp.timers_preset:
        c.report(
            r,
            "spec.bgp.timersPreset",
            f"timersPreset {bgp.timers_preset} contradicts timers.profile {bgp.timers.profile}",
            "give one of them",
        )
    if bgp.generate_peers and not bgp.route_reflector_client:
        learns(c, r, "spec.bgp.importPolicy", bgp.import_policy, router)
    if not bgp.route_reflector_client:
        return
    if router is not None and bgp.peer_asn != router.spec.asn:
        c.report(
            r,
            "spec.bgp.peerASN",
            f"a route-reflector client has our own AS {router.spec.asn}, not {bgp.peer_asn}",
        )
    has_pool = any(True for _ in c.of(specs.MobilityPoolSpec))
    if bgp.generate_peers and not has_pool and not (bgp.import_policy and bgp.import_policy.allowed_prefixes):
        c.report(r, "spec.bgp.importPolicy.allowedPrefixes", "is required with routeReflectorClient")
    elif bgp.import_policy is not None:
        bounds = (bgp.import_policy.allowed_prefix_length_min, bgp.import_policy.allowed_prefix_length_max)
        if bounds not in _TUNNEL_BOUNDS:
            c.report(
                r,
                "spec.bgp.importPolicy",
                "allowedPrefixLengthMin and allowedPrefixLengthMax must both be 32",
            )


def node_set(c: Checker, r: Resource[specs.SAMNodeSetSpec]) -> None:
    """Check a list of nodes."""
    if not r.spec.nodes:
        c.report(r, "spec.nodes", "is empty")
    unique(c, r, "spec.nodes", [node.node_ref for node in r.spec.nodes])
    for index, node in enumerate(r.spec.nodes):
        _node(c, r, f"spec.nodes[{index}]", node)


def _node(c: Checker, r: AnyResource, path: str, node: NodeSpec) -> None:
    if not node.node_ref.strip():
        c.report(r, f"{path}.nodeRef", "is empty")
    if node.sam_endpoint_from is not None:
        both = "samEndpoint and samEndpointFrom are both given; give exactly one"
        c.report(
            r,
            f"{path}.samEndpointFrom",
            both if node.sam_endpoint else "is not supported",
            "" if node.sam_endpoint else "write the address itself in samEndpoint",
        )
    if node.sam_endpoint:
        try:
            valid = ip_interface(node.sam_endpoint.strip()).version == 4
        except ValueError:
            valid = False
        if not valid:
            message = f'expected an IPv4 address, got "{node.sam_endpoint}"'
            c.report(r, f"{path}.samEndpoint", message, ipv6_hint(node.sam_endpoint))
    if node.wire_guard is None:
        return
    if node.wire_guard.endpoint:
        endpoint(c, r, f"{path}.wireGuard.endpoint", node.wire_guard.endpoint)
    elif node.route_reflector:
        c.report(r, f"{path}.wireGuard.endpoint", "is required for a route reflector: leaves dial it")
    keepalive(c, r, f"{path}.wireGuard.persistentKeepalive", node.wire_guard.persistent_keepalive)


def rr_set(c: Checker, r: Resource[specs.SAMRRSetSpec]) -> None:
    """Check a static set of route reflectors; its policy may be another router's."""
    s = r.spec
    if s.nodes:
        c.report(
            r,
            "spec.nodes",
            "a set of nodes is made at run time and must not be in a file",
            "list members, or a SAMNodeSet with the policy's rrNodeSetRef",
        )
    elif not s.members:
        c.report(r, "spec.members", "is required")
    unique(c, r, "spec.members", [member.node_ref for member in s.members])
    unused_policy(c, r, "spec.routeAdmission", s.route_admission)
    for index, ref in enumerate(s.mobility_pool_refs):
        c.refer(r, f"spec.mobilityPoolRefs[{index}]", ref, "MobilityPool")
    for index, member in enumerate(s.members):
        path = f"spec.members[{index}]"
        if member.tunnel_address.prefixlen != 32:
            c.report(r, f"{path}.tunnelAddress", f"{member.tunnel_address} is not a /32")
        if member.wire_guard is not None:
            endpoint(c, r, f"{path}.wireGuard.endpoint", member.wire_guard.endpoint)
            keepalive(c, r, f"{path}.wireGuard.persistentKeepalive", member.wire_guard.persistent_keepalive)


def enrollment_policy(c: Checker, r: Resource[specs.SAMEnrollmentPolicySpec]) -> None:
    """Check the policy that decides who may join."""
    s = r.spec
    # A leaf of the seed's dialect carries a copy of the policy, whose references are the RR's.
    is_copy = any(True for _ in c.of(specs.SAMEnrollmentClientSpec))
    if not is_copy:
        _references(c, r)
        _joining(c, r)
    if not s.tunnel_address_prefixes:
        c.report(r, "spec.tunnelAddressPrefixes", "is required")
    if s.rr_node_set_ref is not None and s.rr_set_ref is None:
        c.report(r, "spec.rrSetRef", "is required with rrNodeSetRef")
    if s.rr_set_ref is not None and not s.rr_set_ref.startswith("SAMRRSet/"):
        c.report(r, "spec.rrSetRef", f'"{s.rr_set_ref}" must refer to SAMRRSet')
    elif s.rr_set_ref is not None and not re.fullmatch(_PATH_NAME, Ref.parse(s.rr_set_ref).name):
        c.report(
            r,
            "spec.rrSetRef",
            f'"{s.rr_set_ref}" has a name that no leaf could ask for',
            "use letters, digits and . _ : @ + -",
        )
    secret(c, r, "spec.joinTokenFrom", s.join_token_from)
    for index, source in enumerate(s.join_tokens_from):
        secret(c, r, f"spec.joinTokensFrom[{index}]", source)
    if s.join_tokens_from and s.join_token_from is None:
        c.report(r, "spec.joinTokenFrom", "is required with joinTokensFrom", "the token of new leaves")
    if s.freshness_window is not None and s.freshness_window <= timedelta():
        c.report(r, "spec.freshnessWindow", "must be longer than 0s", "write a duration such as 5m")
    if s.allowed_leaf_ids is not None:
        try:
            re.compile(s.allowed_leaf_ids.pattern)
        except re.error as error:
            c.report(r, "spec.allowedLeafIDs.pattern", f"is not a regular expression: {error}")
    if s.wire_guard is not None:
        _policy_wireguard(c, r, s.wire_guard)
    _groups(c, r)
    for index, ref in enumerate(s.mobility_pool_refs):
        c.refer(r, f"spec.mobilityPoolRefs[{index}]", ref, "MobilityPool")


def _joining(c: Checker, r: Resource[specs.SAMEnrollmentPolicySpec]) -> None:
    """Check that a policy says how a leaf proves that it may join, or that it need not."""
    s = r.spec
    if s.join_method == DEFAULT_JOIN_METHOD and s.join_token_from is None and not s.join_tokens_from:
        message = f"is required with joinMethod {DEFAULT_JOIN_METHOD}"
        hint = (
            "write joinTokenFrom: {file: /etc/routerd/secrets/join-token}; to admit every host that "
            f"reaches the listener, write joinMethod: {NO_JOIN_METHOD}"
        )
        c.report(r, "spec.joinTokenFrom", message, hint)
    if s.join_method != NO_JOIN_METHOD:
        return
    c.warn(
        r,
        "spec.joinMethod",
        "admits every host that reaches the listener, because it asks for no proof",
        "limit allowCIDRs of the ControlAPI, or give it tls.clientCAFile",
    )
    for field, given in (
        ("joinTokenFrom", s.join_token_from),
        ("joinTokensFrom", s.join_tokens_from),
        ("joinOptions", s.join_options),
    ):
        if given:
            message = f"contradicts joinMethod: {NO_JOIN_METHOD}, which asks for no proof"
            c.report(r, f"spec.{field}", message, "remove one of the two")


def _references(c: Checker, r: Resource[specs.SAMEnrollmentPolicySpec]) -> None:
    s = r.spec
    c.refer(r, "spec.transportProfileRef", s.transport_profile_ref, "SAMTransportProfile")
    if s.rr_node_set_ref is not None:
        nodes = c.refer(r, "spec.rrNodeSetRef", s.rr_node_set_ref, "SAMNodeSet")
        if nodes is not None and not all(node.route_reflector for node in nodes.spec.nodes):
            c.report(r, "spec.rrNodeSetRef", "every node of the set must have routeReflector: true")
    elif s.rr_set_ref is not None:
        c.refer(r, "spec.rrSetRef", s.rr_set_ref, "SAMRRSet")


def _policy_wireguard(c: Checker, r: AnyResource, wireguard: PolicyWireGuardSpec) -> None:
    c.refer(r, "spec.wireGuard.interface", wireguard.interface, "WireGuardInterface")
    keepalive(c, r, "spec.wireGuard.persistentKeepalive", wireguard.persistent_keepalive)
    if not wireguard.allowed_extra_ip_prefixes:
        c.warn(
            r,
            "spec.wireGuard.allowedExtraIPPrefixes",
            "is empty, so a claim with wireGuard.allowedIPs is refused",
        )


def _groups(c: Checker, r: Resource[specs.SAMEnrollmentPolicySpec]) -> None:
    """Check the sites with several leaves of a policy."""
    unique(c, r, "spec.placementGroups", [group.name for group in r.spec.placement_groups])
    for index, group in enumerate(r.spec.placement_groups):
        path = f"spec.placementGroups[{index}]"
        if not re.fullmatch(NAME, group.name):
            c.report(
                r, f"{path}.name", f'"{group.name}" is not a name', "use letters, digits, dots and dashes"
            )
        try:
            re.compile(group.allowed_leaf_ids.pattern)
        except re.error as error:
            c.report(r, f"{path}.allowedLeafIDs.pattern", f"is not a regular expression: {error}")
