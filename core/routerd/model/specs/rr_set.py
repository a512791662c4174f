"""Sets of route reflectors between their forms, in both dialects.

In the seed's dialect a set has `members`; later it has `nodes`, projected from a `SAMNodeSet`.
A leaf makes the same `Reflector` from either.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Any

from routerd.model.addresses import IPNetwork
from routerd.model.claim import Reflector, ReflectorWireGuard, host, prefix
from routerd.model.intent import Intent
from routerd.model.names import PublicKey, Ref
from routerd.model.specs.enrollment import SAMEnrollmentPolicySpec
from routerd.model.specs.mobility import MemberSpec, NodeSpec, SAMNodeSetSpec, SAMRRSetSpec
from routerd.model.tunnel import Endpoint

API_VERSION = "mobility.routerd.net/v1alpha1"
KIND = "SAMRRSet"

Document = dict[str, Any]  # Any: JSON


def static_reflectors(intent: Intent) -> dict[str, tuple[Reflector, ...]]:
    """Return the reflectors of each set in the file, by its name."""
    return {
        found.name: reflectors(rr_set_to_document(found.name, found.spec))
        for found in intent.of(SAMRRSetSpec)
    }


def topology_document(intent: Intent, policy: SAMEnrollmentPolicySpec) -> Document | None:
    """Return the set that leaves of `policy` fetch: static, or projected from its node set."""
    if policy.rr_set_ref is None:
        return None
    name = Ref.parse(policy.rr_set_ref).name
    nodes = intent.get(policy.rr_node_set_ref, SAMNodeSetSpec) if policy.rr_node_set_ref else None
    if nodes is not None:
        refs = [found for found in intent.of(SAMEnrollmentPolicySpec) if found.spec == policy]
        spec = SAMRRSetSpec(
            enrollment_policy_ref=refs[0].ref if refs else "",
            nodes=tuple(node for node in nodes.spec.nodes if node.route_reflector),
        )
        return rr_set_to_document(name, spec)
    found = intent.get(name, SAMRRSetSpec)
    return rr_set_to_document(name, found.spec) if found is not None else None


def rr_set_to_document(name: str, spec: SAMRRSetSpec) -> Document:
    """Return the set as a JSON resource."""
    body: Document = {"enrollmentPolicyRef": spec.enrollment_policy_ref}
    if spec.members:
        body["members"] = [_member(member) for member in spec.members]
    if spec.nodes:
        body["nodes"] = [_node(node) for node in spec.nodes]
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": body}


def reflectors(document: object) -> tuple[Reflector, ...]:
    """Return the reflectors of a set from a server; `ValueError` names its fault."""
    if not isinstance(document, Mapping) or document.get("kind") != KIND:
        raise ValueError(f"expected a resource of kind {KIND}")
    spec = document.get("spec")
    if not isinstance(spec, Mapping):
        raise ValueError("spec must be an object")  # noqa: TRY004 - one error type for bad input
    try:
        found = [_from_member(member) for member in spec.get("members") or ()]
        found += [_from_node(node) for node in spec.get("nodes") or ()]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a route reflector lacks or misshapes {error}") from error
    if not found:
        raise ValueError("the set names no route reflector")
    return tuple(found)


def _member(member: MemberSpec) -> Document:
    body: Document = {
        "nodeRef": member.node_ref,
        "endpoint": str(member.endpoint),
        "tunnelAddress": str(member.tunnel_address),
    }
    if member.wire_guard is not None:
        body["wireGuard"] = {
            "publicKey": member.wire_guard.public_key,
            "endpoint": member.wire_guard.endpoint,
            "allowedIPs": [str(prefix) for prefix in member.wire_guard.allowed_ips],
            "persistentKeepalive": member.wire_guard.persistent_keepalive,
        }
    if member.bgp is not None and member.bgp.asn:
        body["bgp"] = {"asn": member.bgp.asn}
        if member.bgp.router_id is not None:
            body["bgp"]["routerID"] = str(member.bgp.router_id)
    return body


def _node(node: NodeSpec) -> Document:
    body: Document = {"nodeRef": node.node_ref, "routeReflector": node.route_reflector}
    if node.site:
        body["site"] = node.site
    if node.sam_endpoint:
        body["samEndpoint"] = node.sam_endpoint
    if node.wire_guard is not None:
        body["wireGuard"] = {
            "publicKey": node.wire_guard.public_key,
            "endpoint": node.wire_guard.endpoint or "",
            "allowedIPs": [str(prefix) for prefix in node.wire_guard.allowed_ips],
            "persistentKeepalive": node.wire_guard.persistent_keepalive,
        }
        if node.wire_guard.transport_endpoint is not None:
            body["wireGuard"]["transportEndpoint"] = str(node.wire_guard.transport_endpoint)
    return body


def _from_member(member: Mapping[str, Any]) -> Reflector:  # Any: JSON
    endpoint = host(str(member["endpoint"]))
    tunnel = prefix(str(member["tunnelAddress"]))
    wireguard = member.get("wireGuard")
    allowed = tuple(prefix(str(text)) for text in (wireguard or {}).get("allowedIPs") or ())
    bgp = member.get("bgp") or {}
    return Reflector(
        node=str(member["nodeRef"]),
        # The seed's dialect has no field for the inner address; it is the first allowed IP.
        transport_address=allowed[0].network_address if allowed else endpoint,
        endpoint=endpoint,
        tunnel_address=tunnel.network_address,
        wireguard=_wireguard(wireguard, tuple(dict.fromkeys((tunnel, *allowed)))) if wireguard else None,
        asn=bgp.get("asn") or None,
        router_id=IPv4Address(bgp["routerID"]) if bgp.get("routerID") else None,
    )


def _from_node(node: Mapping[str, Any]) -> Reflector:  # Any: JSON
    wireguard = node.get("wireGuard")
    text = str(node.get("samEndpoint") or "").partition("/")[0]
    endpoint = host(text) if text else None
    inner = (wireguard or {}).get("transportEndpoint")
    transport = host(str(inner)) if inner else endpoint
    if transport is None:
        raise ValueError(f"route reflector {node.get('nodeRef')} has no endpoint")
    allowed = tuple(prefix(str(text)) for text in (wireguard or {}).get("allowedIPs") or ())
    return Reflector(
        node=str(node["nodeRef"]),
        transport_address=transport,
        endpoint=endpoint,
        wireguard=_wireguard(wireguard, allowed) if wireguard and wireguard.get("endpoint") else None,
    )


def _wireguard(fields: Mapping[str, Any], allowed: tuple[IPNetwork, ...]) -> ReflectorWireGuard:  # Any: JSON
    address, _, port = str(fields["endpoint"]).rpartition(":")
    return ReflectorWireGuard(
        public_key=PublicKey(str(fields["publicKey"])),
        endpoint=Endpoint(address=host(address), port=int(port)),
        allowed_ips=allowed,
        persistent_keepalive=int(fields.get("persistentKeepalive") or 0),
    )
