"""Rules of a leaf: its claim, its client, its place among the leaves of a site, and takeover."""

import re
from datetime import timedelta
from ipaddress import IPv4Network

from routerd.config.document import ipv6_hint
from routerd.config.rules.checker import (
    NAME,
    AnyResource,
    Checker,
    endpoint,
    host,
    host_prefix,
    keepalive,
    secret,
    time,
    unique,
)
from routerd.model import specs
from routerd.model.names import Ref
from routerd.model.resource import Resource
from routerd.model.specs.enrollment import NO_JOIN_METHOD, ClaimWireGuardSpec
from routerd.model.specs.mobility import MAX_PRIORITY

_SHORTEST = timedelta(seconds=1)


def claim(c: Checker, r: Resource[specs.SAMEnrollmentClaimSpec]) -> None:
    """Check a leaf's claim; the route reflector decides whether it fits the policy."""
    s = r.spec
    policies = {found.name for found in c.of(specs.SAMEnrollmentPolicySpec)} | c.broken
    clients = {Ref.parse(found.spec.claim_ref).name for found in c.of(specs.SAMEnrollmentClientSpec)}
    policy_name = s.policy_ref.strip().removeprefix("SAMEnrollmentPolicy/")
    if not policy_name or "/" in policy_name:
        c.report(r, "spec.policyRef", f'"{s.policy_ref}" must refer to SAMEnrollmentPolicy')
    elif policy_name not in policies and r.name not in clients | c.broken:
        c.report(
            r,
            "spec.policyRef",
            f'"{s.policy_ref}" is not in this file, and no SAMEnrollmentClient submits this claim',
            "add a SAMEnrollmentClient whose claimRef names the claim",
        )
    if not re.fullmatch(NAME, r.name):
        c.report(
            r,
            "metadata.name",
            f'"{r.name}" cannot be the name of a submitted claim',
            "use letters, digits, dots and dashes, at most 253",
        )
    if not s.leaf_id.strip():
        c.report(r, "spec.leafID", "is empty")
    elif not re.fullmatch(NAME, s.leaf_id.strip()):
        c.report(
            r,
            "spec.leafID",
            f'every reflector refuses "{s.leaf_id}"',
            "use letters, digits, dots and dashes, at most 253",
        )
    if s.join_hmac and not s.join_nonce:
        c.report(r, "spec.joinNonce", "is required with joinHMAC")
    host(c, r, "spec.tunnelAddress", s.tunnel_address)
    if s.endpoint:
        host(c, r, "spec.endpoint", s.endpoint)
    if s.bgp.router_id:
        host(c, r, "spec.bgp.routerID", s.bgp.router_id)
    for index, text in enumerate(s.mobility.owned_addresses):
        host_prefix(c, r, f"spec.mobility.ownedAddresses[{index}]", text)
    unique(c, r, "spec.mobility.ownedAddresses", s.mobility.owned_addresses)
    _placement(c, r)
    time(c, r, "spec.joinTimestamp", s.join_timestamp)
    time(c, r, "spec.expiresAt", s.expires_at)
    if r.name in clients:
        _same_speaker(c, r)
    if s.wire_guard is not None:
        _claim_wireguard(c, r, s.wire_guard)


def _same_speaker(c: Checker, r: Resource[specs.SAMEnrollmentClaimSpec]) -> None:
    """Check that the claim names this leaf's own speaker; the reflector refuses every other one."""
    router = next(iter(c.of(specs.BGPRouterSpec)), None)
    if router is None:
        return
    claimed = r.spec.bgp
    own = str(router.spec.router_id)
    refused = "the reflector would refuse the session"
    if claimed.router_id and claimed.router_id.strip().removesuffix("/32") != own:
        c.report(
            r,
            "spec.bgp.routerID",
            f"is {claimed.router_id}, and {router.id.ref} has routerID {own}; {refused}",
            f"write {own}",
        )
    if claimed.asn not in (0, router.spec.asn):
        c.report(
            r,
            "spec.bgp.asn",
            f"is {claimed.asn}, and {router.id.ref} has asn {router.spec.asn}; {refused}",
            f"write {router.spec.asn}",
        )


def _claim_wireguard(c: Checker, r: AnyResource, wireguard: ClaimWireGuardSpec) -> None:
    if not wireguard.public_key:
        c.report(r, "spec.wireGuard.publicKey", "is required")
    if wireguard.endpoint:
        endpoint(c, r, "spec.wireGuard.endpoint", wireguard.endpoint)
    keepalive(c, r, "spec.wireGuard.persistentKeepalive", wireguard.persistent_keepalive)
    for index, text in enumerate(wireguard.allowed_ips):
        try:
            IPv4Network(text.strip())
        except ValueError:
            path = f"spec.wireGuard.allowedIPs[{index}]"
            c.report(r, path, f'expected an IPv4 prefix, got "{text}"', ipv6_hint(text))


def client(c: Checker, r: Resource[specs.SAMEnrollmentClientSpec]) -> None:
    """Check where a leaf enrolls."""
    s = r.spec
    found = c.refer(r, "spec.claimRef", s.claim_ref, "SAMEnrollmentClaim")
    if found is not None and s.join_token_from is not None and found.spec.join_hmac:
        c.warn(
            r,
            "spec.joinTokenFrom",
            "the claim is signed already; with joinTokenFrom routerd signs it again",
            "remove the claim's joinNonce, joinTimestamp and joinHMAC",
        )
    if not s.bootstrap_endpoints and s.rr_socket is None:
        c.report(
            r, "spec.bootstrapEndpoints", "is required", "name the enrollment URL of each route reflector"
        )
    for index, url in enumerate(s.bootstrap_endpoints):
        if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", url):
            c.report(r, f"spec.bootstrapEndpoints[{index}]", f'expected an http or https URL, got "{url}"')
    if s.rr_socket is not None and not s.rr_socket.is_absolute():
        c.report(r, "spec.rrSocket", f'expected an absolute path, got "{s.rr_socket}"')
    if s.retry_backoff.max < s.retry_backoff.min:
        c.report(r, "spec.retryBackoff.max", "is smaller than min")
    if s.control_api_tls is not None and (s.control_api_tls.cert_file is None) != (
        s.control_api_tls.key_file is None
    ):
        c.report(r, "spec.controlAPITLS.certFile", "certFile and keyFile go together")
    secret(c, r, "spec.controlAPITokenFrom", s.control_api_token_from)
    secret(c, r, "spec.joinTokenFrom", s.join_token_from)
    if s.join_method != NO_JOIN_METHOD:
        return
    for field, given in (("joinTokenFrom", s.join_token_from), ("joinOptions", s.join_options)):
        if given:
            message = f"contradicts joinMethod: {NO_JOIN_METHOD}, which sends no proof"
            c.report(r, f"spec.{field}", message, "remove one of the two")


def takeover(c: Checker, r: Resource[specs.CloudProviderProfileSpec]) -> None:
    """Check the routes that a router takes over from the other routers of its site."""
    s = r.spec
    placed = _placed(c)
    unique(c, r, "spec.takeoverFrom", s.takeover_from)
    for index, next_hop in enumerate(s.takeover_from):
        if not next_hop.strip() or next_hop != next_hop.strip():
            c.report(r, f"spec.takeoverFrom[{index}]", f'"{next_hop}" names no router')
    if s.takeover_from and not placed:
        c.report(
            r,
            "spec.takeoverFrom",
            "needs a claim with placement, which decides which router is active",
            "add placement to the SAMEnrollmentClaim",
        )
    elif placed and not s.takeover_from:
        c.warn(
            r,
            "spec.takeoverFrom",
            f"is empty, so this router takes over no route of the other leaves in {placed[0].id.ref}'s group",
            "name the site's other routers as the cloud's routes do",
        )
    if s.takeover_hold_down < _SHORTEST:
        c.report(
            r,
            "spec.takeoverHoldDown",
            f"must be {_SHORTEST.total_seconds():g}s or more",
            "a reflector that restarts needs a moment",
        )


def _placed(c: Checker) -> list[Resource[specs.SAMEnrollmentClaimSpec]]:
    """Return the claims with placement that this router submits."""
    submitted = {Ref.parse(found.spec.claim_ref).name for found in c.of(specs.SAMEnrollmentClientSpec)}
    return [
        found
        for found in c.of(specs.SAMEnrollmentClaimSpec)
        if found.name in submitted and found.spec.placement is not None
    ]


def _placement(c: Checker, r: Resource[specs.SAMEnrollmentClaimSpec]) -> None:
    """Check the place of a claim among the leaves of its site."""
    placed = r.spec.placement
    if placed is None:
        return
    if not re.fullmatch(NAME, placed.group.strip()):
        c.report(
            r,
            "spec.placement.group",
            f'"{placed.group}" is not the name of a placement group',
            "write a name from the policy's placementGroups",
        )
    c.within(r, "spec.placement.priority", placed.priority, 1, MAX_PRIORITY)
    if not r.spec.mobility.owned_addresses:
        c.report(
            r,
            "spec.mobility.ownedAddresses",
            "is required with placement",
            "list the addresses that the leaves of the group share",
        )
    first = next(iter(_placed(c)), None)
    if first is not None and first.name != r.name and r.name in {each.name for each in _placed(c)}:
        c.report(
            r, "spec.placement", f"{first.id.ref} has one already, and a router has one place in its site"
        )
