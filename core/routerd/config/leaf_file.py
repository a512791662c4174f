"""The file of a leaf, written from a few answers: plain YAML in the later dialect, with comments.

Text and nothing else: whether the file is right is for the loader to say.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import attrs
import yaml

from routerd.config.render import duration
from routerd.model.specs import SecretSource
from routerd.model.specs.common import PolicySpec
from routerd.model.specs.hybrid import TunnelMode
from routerd.model.specs.mobility import (
    ClientTLSSpec,
    PlacementSpec,
    RetryBackoffSpec,
    SAMEnrollmentClientSpec,
)

ENCAPSULATING = ("fou", "gue")
KEEPALIVE = 25
"""Seconds: NAT boxes forget a UDP flow after thirty, and a leaf may be behind one."""


@attrs.frozen(kw_only=True)
class LeafWireGuard:
    """The WireGuard device of a leaf. `endpoint` is none behind NAT."""

    ifname: str
    address: IPv4Address
    listen_port: int
    private_key_file: Path
    public_key: str
    endpoint: str | None


@attrs.frozen(kw_only=True)
class LeafSignature:
    """The proof in a file whose leaf does not sign itself; `hmac` is empty when it is still to come."""

    nonce: str
    timestamp: str
    hmac: str = ""


@attrs.frozen(kw_only=True)
class LeafFile:
    """Everything that a leaf's file says. References are bare names.

    Exactly one of `join_token` and `signature` is given: with the token the leaf signs, and renews,
    its claim itself.
    """

    leaf_id: str
    plugins: tuple[str, ...]
    underlay_name: str
    underlay_ifname: str
    underlay_address: IPv4Interface
    local_endpoint: IPv4Address
    inner_prefix: IPv4Network
    tunnel_address: IPv4Address
    mobility_prefixes: tuple[IPv4Network, ...]
    owned_addresses: tuple[IPv4Address, ...]
    on_loopback: bool
    placement: PlacementSpec | None
    rr_set: str
    policy: str
    join_audience: str
    endpoints: tuple[str, ...]
    mode: TunnelMode
    encap_sport: int
    encap_dport: int
    asn: int
    router_id: IPv4Address
    rr_local_preference: int
    peer_group: str | None
    wireguard: LeafWireGuard | None
    join_token: SecretSource | None
    signature: LeafSignature | None
    refresh_before: timedelta
    retry: RetryBackoffSpec
    control_token: SecretSource | None
    control_tls: ClientTLSSpec | None


def render(leaf: LeafFile) -> str:
    """Return the file."""
    return "\n".join([*_head(leaf), *_underlay(leaf), *_overlay(leaf), *_enrollment(leaf), ""])


def _head(leaf: LeafFile) -> Iterator[str]:
    words = (
        f"The router {leaf.leaf_id}, a leaf: it joins the fabric of {leaf.rr_set} under the policy "
        f"{leaf.policy}" + (" and announces the addresses of its claim." if leaf.owned_addresses else ".")
    )
    yield from _comment(words, indent=0)
    yield "apiVersion: routerd.net/v1alpha1"
    yield "kind: Router"
    yield "metadata:"
    yield f"  name: {_scalar(leaf.leaf_id)}"
    yield f"plugins: {_flow(leaf.plugins)}"
    yield "spec:"
    yield "  resources:"


def _underlay(leaf: LeafFile) -> Iterator[str]:
    yield from _title("underlay: the device with the way to the route reflectors", blank=False)
    yield from _resource("net", "Interface", leaf.underlay_name, "spec:")
    yield f"        ifname: {_scalar(leaf.underlay_ifname)}"
    yield "        managed: false"
    yield from _address(f"{leaf.underlay_name}-ipv4", leaf.underlay_name, leaf.underlay_address)
    if leaf.wireguard is not None:
        yield from _wireguard(leaf, leaf.wireguard)
    if leaf.on_loopback:
        yield from _title("addresses of the fabric that this host itself answers to")
        yield from _resource("net", "Interface", "lo-mobility", "spec: {ifname: lo, managed: false}")
        for number, owned in enumerate(leaf.owned_addresses, 1):
            suffix = "" if number == 1 else f"-{number}"
            yield from _address(f"owned-service-ip{suffix}", "lo-mobility", IPv4Interface(owned))


def _wireguard(leaf: LeafFile, wireguard: LeafWireGuard) -> Iterator[str]:
    yield from _title("WireGuard towards the route reflectors")
    yield from _resource("net", "WireGuardInterface", wireguard.ifname, "spec:")
    yield from _comment("A missing key is made at the first start; the claim below carries its public half.")
    yield f"        privateKeyFile: {_scalar(str(wireguard.private_key_file))}"
    yield f"        listenPort: {wireguard.listen_port}"
    yield "        peersFrom:"
    yield f"          - resource: {_scalar(f'SAMRRSet/{leaf.rr_set}')}"
    yield from _address(f"{wireguard.ifname}-ipv4", wireguard.ifname, IPv4Interface(wireguard.address))


def _overlay(leaf: LeafFile) -> Iterator[str]:
    yield from _title("overlay and routing")
    yield from _resource("mobility", "SAMTransportProfile", leaf.leaf_id, "spec:")
    yield f"        mode: {leaf.mode}"
    yield f"        encryption: {'wireguard' if leaf.wireguard is not None else 'none'}"
    yield "        addressingMode: pair-stable"
    yield from _comment("The same on every router of the fabric; each tunnel takes a /31 of it.")
    yield f"        innerPrefix: {leaf.inner_prefix}"
    underlay = leaf.wireguard.ifname if leaf.wireguard is not None else leaf.underlay_name
    yield f"        underlayInterface: {_scalar(underlay)}"
    yield f"        localEndpoint: {_tunnel_endpoint(leaf)}"
    if leaf.mode in ENCAPSULATING:
        yield f"        encapSport: {leaf.encap_sport}"
        yield f"        encapDport: {leaf.encap_dport}"
    yield "        peersFrom:"
    yield f"          - resource: {_scalar(f'SAMRRSet/{leaf.rr_set}')}"
    if leaf.peer_group is not None:
        yield f"          - {{resource: {_scalar(f'SAMPeerGroup/{leaf.peer_group}')}, optional: true}}"
    yield "        bgp:"
    yield "          routerRef: BGPRouter/mobility-bgp"
    yield f"          peerASN: {leaf.asn}"
    yield "          timersPreset: fast"
    yield from _comment("What this leaf may learn: host addresses inside of these, and nothing else.", 10)
    yield "          importPolicy:"
    yield f"            allowedPrefixes: {_flow(map(str, leaf.mobility_prefixes))}"
    yield "            allowedPrefixLengthMin: 32"
    yield "            allowedPrefixLengthMax: 32"
    if leaf.rr_local_preference != (PolicySpec().local_preference or 100):
        yield f"            localPreference: {leaf.rr_local_preference}"
    yield from _resource("net", "BGPRouter", "mobility-bgp", "spec:")
    yield f"        asn: {leaf.asn}"
    yield f"        routerID: {leaf.router_id}"
    yield "        timers: {profile: fast}"
    yield "        convergenceProfile: fast"


def _enrollment(leaf: LeafFile) -> Iterator[str]:
    yield from _title("enrollment: what this leaf claims, and where it asks")
    yield from _resource("mobility", "SAMEnrollmentClaim", leaf.leaf_id, "spec:")
    yield f"        policyRef: {_scalar(f'SAMEnrollmentPolicy/{leaf.policy}')}"
    yield f"        rrSetRef: {_scalar(f'SAMRRSet/{leaf.rr_set}')}"
    yield f"        leafID: {_scalar(leaf.leaf_id)}"
    yield f"        joinAudience: {_scalar(leaf.join_audience)}"
    yield from _proof(leaf)
    yield f"        tunnelAddress: {leaf.tunnel_address}/32"
    yield f"        endpoint: {_tunnel_endpoint(leaf)}"
    if leaf.wireguard is not None:
        yield from _claimed_wireguard(leaf.wireguard)
    if leaf.peer_group is not None:
        yield "        directMesh: true"
    if leaf.owned_addresses:
        yield "        mobility:"
        yield f"          ownedAddresses: {_flow(f'{each}/32' for each in leaf.owned_addresses)}"
    else:
        yield from _comment(
            "The addresses behind this leaf that the whole fabric may reach, once there are any:\n"
            "mobility: {ownedAddresses: [ADDRESS/32]}"
        )
    if leaf.placement is not None:
        yield from _comment("One of several leaves of its site: the one with the lowest priority is active.")
        group, priority = _scalar(leaf.placement.group), leaf.placement.priority
        yield f"        placement: {{group: {group}, priority: {priority}}}"
    yield f"        bgp: {{asn: {leaf.asn}, routerID: {leaf.router_id}}}"
    yield from _client(leaf)


def _proof(leaf: LeafFile) -> Iterator[str]:
    signature = leaf.signature
    if signature is None:
        return
    if not signature.hmac:
        yield from _comment(
            "Not signed yet: `routerd enroll sign --config THIS-FILE --secret-file FILE` prints what "
            "belongs here as joinHMAC. Every later change of the claim needs a new signature."
        )
    yield f"        joinNonce: {_scalar(signature.nonce)}"
    yield f"        joinTimestamp: {_scalar(signature.timestamp)}"
    if signature.hmac:
        yield f"        joinHMAC: {_scalar(signature.hmac)}"


def _claimed_wireguard(wireguard: LeafWireGuard) -> Iterator[str]:
    yield "        wireGuard:"
    yield f"          publicKey: {_scalar(wireguard.public_key)}"
    if wireguard.endpoint is not None:
        yield from _comment("Leave the endpoint out when this site is behind NAT.", 10)
        yield f"          endpoint: {_scalar(wireguard.endpoint)}"
    else:
        yield from _comment("No endpoint: this site is behind NAT, and dials.", 10)
    yield f"          allowedIPs: [{wireguard.address}/32]"
    yield f"          persistentKeepalive: {KEEPALIVE}"


def _client(leaf: LeafFile) -> Iterator[str]:
    yield from _resource("mobility", "SAMEnrollmentClient", leaf.leaf_id, "spec:")
    yield f"        claimRef: {_scalar(f'SAMEnrollmentClaim/{leaf.leaf_id}')}"
    yield f"        bootstrapEndpoints: {_flow(leaf.endpoints)}"
    if leaf.join_token is not None:
        yield from _comment("With the token the leaf signs its claim itself, and renews it before it ends.")
        yield f"        joinTokenFrom: {_secret(leaf.join_token)}"
    defaults = SAMEnrollmentClientSpec(claim_ref="")
    if leaf.refresh_before != defaults.state_ttl_refresh_before:
        yield f"        stateTTLRefreshBefore: {duration(leaf.refresh_before)}"
    if leaf.retry != defaults.retry_backoff:
        yield f"        retryBackoff: {{min: {duration(leaf.retry.min)}, max: {duration(leaf.retry.max)}}}"
    if leaf.control_token is not None:
        yield f"        controlAPITokenFrom: {_secret(leaf.control_token)}"
    if leaf.control_tls is not None:
        yield "        controlAPITLS:"
        tls = leaf.control_tls
        for key, value in (
            ("caFile", tls.ca_file),
            ("certFile", tls.cert_file),
            ("keyFile", tls.key_file),
            ("serverName", tls.server_name),
        ):
            if value is not None:
                yield f"          {key}: {_scalar(str(value))}"
        if tls.insecure_skip_verify:
            yield "          insecureSkipVerify: true"


def _tunnel_endpoint(leaf: LeafFile) -> IPv4Address:
    return leaf.wireguard.address if leaf.wireguard is not None else leaf.local_endpoint


def _title(text: str, *, blank: bool = True) -> Iterator[str]:
    if blank:
        yield ""
    yield f"    # --- {text} ".ljust(98, "-")


def _resource(group: str, kind: str, name: str, spec: str) -> Iterator[str]:
    yield f"    - apiVersion: {group}.routerd.net/v1alpha1"
    yield f"      kind: {kind}"
    yield f"      metadata: {{name: {_scalar(name)}}}"
    yield f"      {spec}"


def _address(name: str, interface: str, address: IPv4Interface) -> Iterator[str]:
    spec = f"spec: {{interface: {_scalar(interface)}, address: {address}}}"
    yield from _resource("net", "IPv4StaticAddress", name, spec)


def _secret(source: SecretSource) -> str:
    where = f"file: {_scalar(str(source.file))}" if source.file is not None else f"env: {_scalar(source.env)}"
    return f"{{{where}, base64: true}}" if source.base64 else f"{{{where}}}"


def _comment(text: str, indent: int = 8) -> Iterator[str]:
    for line in text.splitlines():
        for piece in textwrap.wrap(line, 98 - indent, break_long_words=False, break_on_hyphens=False):
            yield f"{' ' * indent}# {piece}"


def _flow(items: Iterator[str] | Sequence[str] | map[str]) -> str:
    return f"[{', '.join(_scalar(item) for item in items)}]"


def _scalar(text: str | None) -> str:
    """Return text as YAML reads it back, quoted where it must be."""
    dumped: str = yaml.safe_dump([text or ""], default_flow_style=True, width=10_000, allow_unicode=True)
    return dumped.strip()[1:-1]
