"""What the types cannot say: references, rules between fields, rules between resources. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network, ip_network
from typing import Any, TypeVar

import attrs

from routerd.errors import Problem
from routerd.model import specs
from routerd.model.names import MAX_LINK_NAME
from routerd.model.resource import Resource
from routerd.model.specs.common import PolicySpec, SecretSource
from routerd.model.specs.mobility import ClaimWireGuardSpec

S = TypeVar("S")
AnyResource = Resource[Any]  # Any: rules are looked up by the type of the spec


@attrs.frozen
class _Checker:
    file: str
    resources: Sequence[AnyResource]
    problems: list[Problem] = attrs.field(factory=list)

    def report(self, resource: AnyResource, path: str, message: str, hint: str = "") -> None:
        self.problems.append(
            Problem(
                file=self.file,
                line=resource.source.line_of(path),
                resource=resource.id.ref,
                path=path,
                message=message,
                hint=hint,
            )
        )

    def of(self, spec: type[S]) -> Iterator[Resource[S]]:
        return (resource for resource in self.resources if isinstance(resource.spec, spec))

    def refer(self, resource: AnyResource, path: str, ref: str | None, *kinds: str) -> AnyResource | None:
        """Check that `Kind/name` (or a bare name) names a resource of one of `kinds`."""
        if not ref:
            return None
        kind, _, name = ref.rpartition("/")
        if kind and kind not in kinds:
            self.report(resource, path, f'"{ref}" must refer to {" or ".join(kinds)}')
            return None
        for other in self.resources:
            if other.name == name and other.id.kind in ((kind,) if kind else kinds):
                return other
        names = [other.id.ref for other in self.resources if other.id.kind in kinds]
        close = difflib.get_close_matches(ref if kind else f"{kinds[0]}/{name}", names, n=1)
        hint = f"did you mean {close[0]}?" if close else ""
        self.report(resource, path, f'"{ref}" does not exist', hint)
        return None

    def exactly_one(self, resource: AnyResource, *paths: str) -> None:
        """Check that exactly one of two fields below `spec` is given."""
        given = [path for path in paths if _get(resource.spec, path) not in (None, ())]
        if len(given) != 1:
            what = "are both given" if given else "are both missing"
            names = " and ".join(f"spec.{_camel(path)}" for path in paths)
            self.report(resource, f"spec.{_camel(paths[0])}", f"{names} {what}; give exactly one")


def validate(resources: Sequence[AnyResource], file: str) -> list[Problem]:
    """Return every problem between and inside resources, none when all is well."""
    checker = _Checker(file, resources)
    for resource in resources:
        for kind, rule in _RULES:
            if isinstance(resource.spec, kind):
                rule(checker, resource)
    _at_most_one(checker, specs.BGPRouterSpec, "only one BGP speaker can run")
    _at_most_one(checker, specs.ControlAPISpec, "only one enrollment listener can run")
    _disjoint_pools(checker)
    return checker.problems


def _at_most_one(c: _Checker, spec: type[Any], why: str) -> None:
    for extra in list(c.of(spec))[1:]:
        c.report(extra, "", f"there is another resource of this kind; {why}")


def _disjoint_pools(c: _Checker) -> None:
    pools = list(c.of(specs.MobilityPoolSpec))
    for index, pool in enumerate(pools):
        for other in pools[:index]:
            if pool.spec.prefix.overlaps(other.spec.prefix):
                message = f"{pool.spec.prefix} overlaps {other.spec.prefix} of {other.id.ref}"
                c.report(pool, "spec.prefix", message)


# --- net -----------------------------------------------------------------------------------------


def _interface(c: _Checker, r: Resource[specs.InterfaceSpec]) -> None:
    _link_name(c, r, "spec.ifname", r.spec.ifname)
    _mtu(c, r, r.spec.mtu)


def _link_name(c: _Checker, r: AnyResource, path: str, name: str) -> None:
    if not name or len(name.encode()) > MAX_LINK_NAME or re.search(r"[\s/]", name):
        c.report(r, path, f'"{name}" is no device name: 1 to {MAX_LINK_NAME} bytes, no space and no slash')


def _mtu(c: _Checker, r: AnyResource, mtu: int | None) -> None:
    if mtu is not None and not 576 <= mtu <= 9216:
        c.report(r, "spec.mtu", f"{mtu} is not between 576 and 9216")


def _port(c: _Checker, r: AnyResource, path: str, port: int | None) -> None:
    if port is not None and not 1 <= port <= 65535:
        c.report(r, path, f"{port} is no port")


def _address(c: _Checker, r: Resource[specs.IPv4StaticAddressSpec]) -> None:
    c.refer(r, "spec.interface", r.spec.interface, "Interface", "WireGuardInterface")


def _static_route(c: _Checker, r: Resource[specs.IPv4StaticRouteSpec]) -> None:
    if r.spec.via is None and r.spec.interface is None:
        c.report(r, "spec.via", "give via, interface, or both")
    c.refer(r, "spec.interface", r.spec.interface, "Interface", "WireGuardInterface")


def _route(c: _Checker, r: Resource[specs.IPv4RouteSpec]) -> None:
    if r.spec.type == "unicast" and r.spec.device is None and r.spec.gateway is None:
        c.report(r, "spec.device", "give device, gateway, or both")
    for path, value in (("spec.deviceFrom", r.spec.device_from), ("spec.gatewayFrom", r.spec.gateway_from)):
        if value is not None:
            c.report(r, path, "is not supported", "write the value itself")


def _wireguard_interface(c: _Checker, r: Resource[specs.WireGuardInterfaceSpec]) -> None:
    _link_name(c, r, "spec.ifname" if r.spec.ifname else "metadata.name", r.spec.ifname or r.name)
    _mtu(c, r, r.spec.mtu)
    _port(c, r, "spec.listenPort", r.spec.listen_port)
    if r.spec.private_key is not None:
        c.report(r, "spec.privateKey", "a private key may not stand in the file", "use privateKeyFile")
    elif r.spec.private_key_file is None:
        c.report(r, "spec.privateKeyFile", "is required", "a missing file is made with a new key")
    for index, source in enumerate(r.spec.peers_from):
        path = f"spec.peersFrom[{index}].resource"
        _source(c, r, path, source.resource, runtime_ok=True)


def _source(c: _Checker, r: AnyResource, path: str, ref: str, *, runtime_ok: bool) -> None:
    """Check a source of peers; a set of route reflectors may be one that is fetched."""
    kind, _, name = ref.rpartition("/")
    if runtime_ok and kind == "SAMRRSet":
        fetched = {claim.spec.rr_set_ref.rpartition("/")[2] for claim in c.of(specs.SAMEnrollmentClaimSpec)}
        static = {found.name for found in c.of(specs.SAMRRSetSpec)}
        if name not in fetched | static:
            message = f'"{ref}" is neither defined here nor fetched by any SAMEnrollmentClaim'
            c.report(r, path, message, "set the claim's rrSetRef")
        return
    if kind == "SAMPeerGroup":
        return
    c.refer(r, path, ref, "SAMNodeSet", "SAMEnrollmentPolicy", "SAMRRSet")


def _wireguard_peer(c: _Checker, r: Resource[specs.WireGuardPeerSpec]) -> None:
    c.refer(r, "spec.interface", r.spec.interface, "WireGuardInterface")
    if not r.spec.allowed_ips:
        c.report(r, "spec.allowedIPs", "is required")
    if r.spec.endpoint:
        _endpoint(c, r, "spec.endpoint", r.spec.endpoint)
    if r.spec.preshared_key is not None:
        c.report(r, "spec.presharedKey", "a secret may not stand in the file", "use presharedKeyFile")
    if not 0 <= r.spec.persistent_keepalive <= 65535:
        c.report(r, "spec.persistentKeepalive", f"{r.spec.persistent_keepalive} is not between 0 and 65535")


def _endpoint(c: _Checker, r: AnyResource, path: str, text: str) -> None:
    host, _, port = text.strip().rpartition(":")
    try:
        IPv4Address(host)
        valid = 1 <= int(port) <= 65535
    except ValueError:
        valid = False
    if not valid:
        c.report(r, path, f'expected an IPv4 address and a port such as 192.0.2.1:51820, got "{text}"')


def _bgp_router(c: _Checker, r: Resource[specs.BGPRouterSpec]) -> None:
    _asn(c, r, "spec.asn", r.spec.asn)
    _port(c, r, "spec.listen.port", r.spec.listen.port)
    _policy(c, r, "spec.importPolicy", r.spec.import_policy)
    imported = r.spec.import_policy.allowed_prefixes if r.spec.import_policy else ()
    for part in ("connected", "static"):
        for prefix in getattr(r.spec.redistribute, part).allowed_prefixes:
            for other in imported:
                # A leaf imports a pool and announces one address of it: only an equal or a wider
                # prefix would bring its own announcements back.
                if other.subnet_of(prefix):
                    message = f"{prefix} covers {other} of spec.importPolicy"
                    c.report(r, f"spec.redistribute.{part}.allowedPrefixes", message)


def _asn(c: _Checker, r: AnyResource, path: str, asn: int) -> None:
    if not 1 <= asn <= 4294967295:
        c.report(r, path, f"{asn} is no AS number (1 to 4294967295)")


def _policy(c: _Checker, r: AnyResource, path: str, policy: PolicySpec | None) -> None:
    if policy is None:
        return
    low, high = policy.allowed_prefix_length_min, policy.allowed_prefix_length_max
    for key, value in (("allowedPrefixLengthMin", low), ("allowedPrefixLengthMax", high)):
        if value is not None and not 0 <= value <= 128:
            c.report(r, f"{path}.{key}", f"{value} is no prefix length")
    if low is not None and high is not None and low > high:
        c.report(r, f"{path}.allowedPrefixLengthMin", f"{low} is larger than the maximum {high}")


def _bgp_peer(c: _Checker, r: Resource[specs.BGPPeerSpec]) -> None:
    router = c.refer(r, "spec.routerRef", r.spec.router_ref, "BGPRouter")
    _asn(c, r, "spec.peerASN", r.spec.peer_asn)
    _policy(c, r, "spec.importPolicy", r.spec.import_policy)
    if not r.spec.peers:
        c.report(r, "spec.peers", "is empty")
    if len(set(r.spec.peers)) != len(r.spec.peers):
        c.report(r, "spec.peers", "names one neighbour twice")
    _reflector_asn(c, r, router)


def _reflector_asn(c: _Checker, r: AnyResource, router: AnyResource | None) -> None:
    if r.spec.route_reflector_client and router is not None and r.spec.peer_asn != router.spec.asn:
        message = f"a route-reflector client has our own AS {router.spec.asn}, not {r.spec.peer_asn}"
        c.report(r, "spec.peerASN", message)


def _bgp_dynamic_peer(c: _Checker, r: Resource[specs.BGPDynamicPeerSpec]) -> None:
    router = c.refer(r, "spec.routerRef", r.spec.router_ref, "BGPRouter")
    _asn(c, r, "spec.peerASN", r.spec.peer_asn)
    _reflector_asn(c, r, router)
    if not r.spec.listen.source_prefixes:
        c.report(r, "spec.listen.sourcePrefixes", "is empty")
    own = r.spec.import_policy
    inherited = router.spec.import_policy if router is not None else None
    policy = own or inherited
    if policy is None or not policy.allowed_prefixes:
        c.report(r, "spec.importPolicy.allowedPrefixes", "is required here or in the BGPRouter")
    elif (policy.allowed_prefix_length_min, policy.allowed_prefix_length_max) != (32, 32):
        message = "allowedPrefixLengthMin and allowedPrefixLengthMax must both be 32"
        c.report(r, "spec.importPolicy", message, "leaves announce host addresses only")


# --- system and hybrid ---------------------------------------------------------------------------------


def _control_api(c: _Checker, r: Resource[specs.ControlAPISpec]) -> None:
    _port(c, r, "spec.port", r.spec.port)
    for index, prefix in enumerate(r.spec.allow_cidrs):
        if prefix.prefixlen == 0:
            c.report(r, f"spec.allowCIDRs[{index}]", f"{prefix} would let everybody in", "name the leaves")
    if r.spec.token_from is not None:
        _secret(c, r, "spec.tokenFrom", r.spec.token_from)


def _secret(c: _Checker, r: AnyResource, path: str, secret: SecretSource) -> None:
    if (secret.file is None) == (secret.env is None):
        c.report(r, path, "give exactly one of file and env")


def _tunnel(c: _Checker, r: Resource[specs.TunnelInterfaceSpec]) -> None:
    _link_name(c, r, "metadata.name", r.name)
    c.exactly_one(r, "local", "local_from")
    c.exactly_one(r, "remote", "remote_from")
    _mtu(c, r, r.spec.mtu)
    _encapsulation(c, r)
    if not 1 <= r.spec.ttl <= 255:
        c.report(r, "spec.ttl", f"{r.spec.ttl} is not between 1 and 255")
    if r.spec.key is not None and r.spec.mode != "gre":
        c.report(r, "spec.key", "only gre tunnels have a key")
    if not r.spec.trusted_underlay:
        message = "must be true: the tunnel carries clear text and the underlay is trusted with it"
        c.report(r, "spec.trustedUnderlay", message)
    c.refer(r, "spec.underlayInterface", r.spec.underlay_interface, "Interface", "WireGuardInterface")


def _encapsulation(c: _Checker, r: AnyResource) -> None:
    for path, port in (("encapSport", r.spec.encap_sport), ("encapDport", r.spec.encap_dport)):
        if r.spec.mode in ("fou", "gue") and port is None:
            c.report(r, f"spec.{path}", f"is required for mode {r.spec.mode}")
        elif r.spec.mode not in ("fou", "gue") and port is not None:
            c.report(r, f"spec.{path}", f"mode {r.spec.mode} has no UDP port")
        _port(c, r, f"spec.{path}", port)


# --- mobility ------------------------------------------------------------------------------------


def _profile(c: _Checker, r: Resource[specs.SAMTransportProfileSpec]) -> None:
    s = r.spec
    if s.inner_prefix.prefixlen > 31:
        c.report(r, "spec.innerPrefix", f"{s.inner_prefix} holds no /31")
    c.exactly_one(r, "local_endpoint", "local_endpoint_from")
    if s.local_endpoint_from is not None:
        c.refer(r, "spec.localEndpointFrom.resource", s.local_endpoint_from.resource, "CloudProviderProfile")
    _encapsulation(c, r)
    c.refer(r, "spec.underlayInterface", s.underlay_interface, "Interface", "WireGuardInterface")
    if not s.peers_from and not s.publish_peer_group:
        c.report(r, "spec.peersFrom", "is required")
    for index, source in enumerate(s.peers_from):
        _source(c, r, f"spec.peersFrom[{index}].resource", source.resource, runtime_ok=True)
    if s.encrypted and s.underlay_interface is not None:
        names = {found.name for found in c.of(specs.WireGuardInterfaceSpec)}
        if s.underlay_interface not in names:
            message = f'encryption is wireguard, but "{s.underlay_interface}" is no WireGuardInterface'
            c.report(r, "spec.underlayInterface", message)
    if s.bgp is not None:
        router = c.refer(r, "spec.bgp.routerRef", s.bgp.router_ref, "BGPRouter")
        _asn(c, r, "spec.bgp.peerASN", s.bgp.peer_asn)
        _policy(c, r, "spec.bgp.importPolicy", s.bgp.import_policy)
        if s.bgp.route_reflector_client and router is not None and s.bgp.peer_asn != router.spec.asn:
            c.report(r, "spec.bgp.peerASN", f"a route-reflector client has our own AS {router.spec.asn}")


def _node_set(c: _Checker, r: Resource[specs.SAMNodeSetSpec]) -> None:
    if not r.spec.nodes:
        c.report(r, "spec.nodes", "is empty")
    _unique(c, r, "spec.nodes", [node.node_ref for node in r.spec.nodes])
    for index, node in enumerate(r.spec.nodes):
        if node.sam_endpoint and node.sam_endpoint_from:
            c.report(r, f"spec.nodes[{index}].samEndpoint", "samEndpoint and samEndpointFrom are both given")
        if node.wire_guard is not None and node.wire_guard.endpoint:
            _endpoint(c, r, f"spec.nodes[{index}].wireGuard.endpoint", node.wire_guard.endpoint)


def _unique(c: _Checker, r: AnyResource, path: str, names: list[str]) -> None:
    for name in sorted({name for name in names if names.count(name) > 1}):
        c.report(r, path, f"{name} is named twice")


def _rr_set(c: _Checker, r: Resource[specs.SAMRRSetSpec]) -> None:
    if not r.spec.members:
        c.report(r, "spec.members", "is required", "a set made from a SAMNodeSet may not stand in a file")
    _unique(c, r, "spec.members", [member.node_ref for member in r.spec.members])
    for index, member in enumerate(r.spec.members):
        if member.tunnel_address.prefixlen != 32:
            c.report(r, f"spec.members[{index}].tunnelAddress", f"{member.tunnel_address} is no /32")
        if member.wire_guard is not None:
            _endpoint(c, r, f"spec.members[{index}].wireGuard.endpoint", member.wire_guard.endpoint)


def _enrollment_policy(c: _Checker, r: Resource[specs.SAMEnrollmentPolicySpec]) -> None:
    s = r.spec
    local_claims = any(True for _ in c.of(specs.SAMEnrollmentClaimSpec))
    if not local_claims:
        # A leaf of the seed's dialect carries a copy of the policy, whose profile is the RR's.
        c.refer(r, "spec.transportProfileRef", s.transport_profile_ref, "SAMTransportProfile")
    if not s.tunnel_address_prefixes:
        c.report(r, "spec.tunnelAddressPrefixes", "is required")
    if s.rr_node_set_ref is not None:
        nodes = c.refer(r, "spec.rrNodeSetRef", s.rr_node_set_ref, "SAMNodeSet")
        if nodes is not None and not all(node.route_reflector for node in nodes.spec.nodes):
            c.report(r, "spec.rrNodeSetRef", "every node of the set must have routeReflector: true")
        if s.rr_set_ref is None:
            c.report(r, "spec.rrSetRef", "is required with rrNodeSetRef")
    elif s.rr_set_ref is not None and not local_claims:
        c.refer(r, "spec.rrSetRef", s.rr_set_ref, "SAMRRSet")
    if s.join_token_from is not None:
        _secret(c, r, "spec.joinTokenFrom", s.join_token_from)
    if s.allowed_leaf_ids is not None:
        try:
            re.compile(s.allowed_leaf_ids.pattern)
        except re.error as error:
            c.report(r, "spec.allowedLeafIDs.pattern", f"is no regular expression: {error}")
    if s.wire_guard is not None:
        c.refer(r, "spec.wireGuard.interface", s.wire_guard.interface, "WireGuardInterface")
    for index, ref in enumerate(s.mobility_pool_refs):
        c.refer(r, f"spec.mobilityPoolRefs[{index}]", ref, "MobilityPool")


def _claim(c: _Checker, r: Resource[specs.SAMEnrollmentClaimSpec]) -> None:
    s = r.spec
    policies = {policy.name for policy in c.of(specs.SAMEnrollmentPolicySpec)}
    clients = {client.spec.claim_ref.rpartition("/")[2] for client in c.of(specs.SAMEnrollmentClientSpec)}
    if s.policy_ref.strip().rpartition("/")[2] not in policies and r.name not in clients:
        message = f'"{s.policy_ref}" is not here, and no SAMEnrollmentClient submits this claim'
        c.report(r, "spec.policyRef", message)
    if s.join_hmac and not s.join_nonce:
        c.report(r, "spec.joinNonce", "is required with joinHMAC")
    _host(c, r, "spec.tunnelAddress", s.tunnel_address)
    if s.endpoint:
        _host(c, r, "spec.endpoint", s.endpoint)
    if s.bgp.router_id:
        _host(c, r, "spec.bgp.routerID", s.bgp.router_id)
    for index, text in enumerate(s.mobility.owned_addresses):
        _host_prefix(c, r, f"spec.mobility.ownedAddresses[{index}]", text)
    for path, text in (("spec.joinTimestamp", s.join_timestamp), ("spec.expiresAt", s.expires_at)):
        if text and not _is_time(text):
            c.report(r, path, f'expected a time such as 2026-06-28T00:00:00Z, got "{text}"')
    if s.wire_guard is not None:
        _claim_wireguard(c, r, s.wire_guard)


def _claim_wireguard(c: _Checker, r: AnyResource, wireguard: ClaimWireGuardSpec) -> None:
    if not wireguard.public_key:
        c.report(r, "spec.wireGuard.publicKey", "is required")
    if wireguard.endpoint:
        _endpoint(c, r, "spec.wireGuard.endpoint", wireguard.endpoint)
    for index, text in enumerate(wireguard.allowed_ips):
        try:
            IPv4Network(text)
        except ValueError:
            message = f'expected an IPv4 prefix, got "{text}"'
            c.report(r, f"spec.wireGuard.allowedIPs[{index}]", message)


def _host(c: _Checker, r: AnyResource, path: str, text: str) -> None:
    try:
        IPv4Address(text.strip().removesuffix("/32"))
    except ValueError:
        c.report(r, path, f'expected an IPv4 address, got "{text}"')


def _host_prefix(c: _Checker, r: AnyResource, path: str, text: str) -> None:
    try:
        valid = ip_network(text.strip()).prefixlen == 32
    except ValueError:
        valid = False
    if not valid:
        c.report(r, path, f'expected a host prefix such as 10.0.0.1/32, got "{text}"')


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _client(c: _Checker, r: Resource[specs.SAMEnrollmentClientSpec]) -> None:
    s = r.spec
    c.refer(r, "spec.claimRef", s.claim_ref, "SAMEnrollmentClaim")
    if not s.bootstrap_endpoints and s.rr_socket is None:
        c.report(
            r, "spec.bootstrapEndpoints", "is required", "name the enrollment URL of each route reflector"
        )
    for index, url in enumerate(s.bootstrap_endpoints):
        if not re.fullmatch(r"https?://[^/\s]+(/.*)?", url):
            c.report(r, f"spec.bootstrapEndpoints[{index}]", f'expected an http or https URL, got "{url}"')
    if s.retry_backoff.max < s.retry_backoff.min:
        c.report(r, "spec.retryBackoff.max", "is smaller than min")
    for path, secret in (
        ("spec.controlAPITokenFrom", s.control_api_token_from),
        ("spec.joinTokenFrom", s.join_token_from),
    ):
        if secret is not None:
            _secret(c, r, path, secret)


_RULES: tuple[tuple[type[Any], Callable[[_Checker, Any], None]], ...] = (
    (specs.InterfaceSpec, _interface),
    (specs.IPv4StaticAddressSpec, _address),
    (specs.IPv4StaticRouteSpec, _static_route),
    (specs.IPv4RouteSpec, _route),
    (specs.WireGuardInterfaceSpec, _wireguard_interface),
    (specs.WireGuardPeerSpec, _wireguard_peer),
    (specs.BGPRouterSpec, _bgp_router),
    (specs.BGPPeerSpec, _bgp_peer),
    (specs.BGPDynamicPeerSpec, _bgp_dynamic_peer),
    (specs.ControlAPISpec, _control_api),
    (specs.TunnelInterfaceSpec, _tunnel),
    (specs.SAMTransportProfileSpec, _profile),
    (specs.SAMNodeSetSpec, _node_set),
    (specs.SAMRRSetSpec, _rr_set),
    (specs.SAMEnrollmentPolicySpec, _enrollment_policy),
    (specs.SAMEnrollmentClaimSpec, _claim),
    (specs.SAMEnrollmentClientSpec, _client),
)


def _get(spec: object, path: str) -> object:
    return getattr(spec, path)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
