"""A leaf's claim to join the fabric, and what a route reflector made of it.

The fields are those of the `SAMEnrollmentClaim` resource; `at` gives the place of each in the
resource, so that the JSON form, its schema and the checks of its form read one list. Texts stay
texts where the signature covers them: normalising "10.0.0.1" to "10.0.0.1/32" would change it.
White space around a text is not signed, and a claim does not hold it. Typed views are beside.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from socket import AF_INET, inet_pton

import attrs

from routerd.model.addresses import IPAddress, IPNetwork, host_prefix
from routerd.model.names import PublicKey, Ref
from routerd.model.tunnel import Endpoint


# Judging and derivation ask for a claim's addresses many times. Parsing the text each time took a
# third of the time of a claim.
@lru_cache(maxsize=8192)
def _ipv4(text: str) -> IPv4Address:
    try:
        return IPv4Address(inet_pton(AF_INET, text))
    except OSError as error:
        raise ValueError(f"{text} is not an IPv4 address") from error


def host(text: str) -> IPAddress:
    """Return the address that `text` is, in its usual spelling; `ValueError` otherwise, also for IPv6."""
    return _ipv4(text)


@lru_cache(maxsize=8192)
def prefix(text: str) -> IPNetwork:
    """Return the prefix that `text` is; `ValueError` otherwise, also for IPv6."""
    address, slash, length = text.partition("/")
    if slash and length != "32":
        try:
            return IPv4Network(text)
        except AddressValueError as error:
            raise ValueError(f"{text} is not an IPv4 prefix") from error
    return host_prefix(host(address))


def at(path: str) -> Mapping[str, str]:
    """Return the metadata of a field that is at `path` of a resource's spec, such as `bgp.asn`."""
    return {"at": path}


def _trimmed(text: str) -> str:
    return text.strip()


def _trimmed_key(key: PublicKey) -> PublicKey:
    return PublicKey(key.strip())


@attrs.frozen(kw_only=True)
class ClaimWireGuard:
    """WireGuard identity in a claim."""

    public_key: PublicKey = attrs.field(converter=_trimmed_key, metadata=at("publicKey"))
    endpoint: str = attrs.field(default="", converter=_trimmed, metadata=at("endpoint"))
    allowed_ips: tuple[str, ...] = attrs.field(default=(), metadata=at("allowedIPs"))
    persistent_keepalive: int = attrs.field(default=0, metadata=at("persistentKeepalive"))

    @property
    def udp_endpoint(self) -> Endpoint | None:
        """Return the endpoint, or none when the leaf gave none (it is behind NAT)."""
        if not self.endpoint:
            return None
        address, _, port = self.endpoint.rpartition(":")
        return Endpoint(address=host(address), port=int(port))

    @property
    def allowed(self) -> frozenset[IPNetwork]:
        """Return the allowed IPs as networks."""
        return frozenset(prefix(text.strip()) for text in self.allowed_ips)


@attrs.frozen(kw_only=True)
class Placement:
    """Which one of a site's routers a leaf is.

    The leaves of a `group` may claim the same addresses. Of those that are present, the leaf with
    the lowest `priority` is active.
    """

    group: str = attrs.field(converter=_trimmed, metadata=at("group"))
    priority: int = attrs.field(metadata=at("priority"))


@attrs.frozen(kw_only=True)
class Claim:
    """A claim under its resource name, as signed by the leaf."""

    name: str
    policy_ref: str = attrs.field(converter=_trimmed, metadata=at("policyRef"))
    rr_set_ref: str = attrs.field(default="", converter=_trimmed, metadata=at("rrSetRef"))
    leaf_id: str = attrs.field(converter=_trimmed, metadata=at("leafID"))
    join_audience: str = attrs.field(default="", converter=_trimmed, metadata=at("joinAudience"))
    join_nonce: str = attrs.field(default="", converter=_trimmed, metadata=at("joinNonce"))
    join_timestamp: str = attrs.field(default="", converter=_trimmed, metadata=at("joinTimestamp"))
    join_hmac: str = attrs.field(default="", converter=_trimmed, repr=False, metadata=at("joinHMAC"))
    tunnel_address: str = attrs.field(converter=_trimmed, metadata=at("tunnelAddress"))
    endpoint: str = attrs.field(default="", converter=_trimmed, metadata=at("endpoint"))
    direct_mesh: bool = attrs.field(default=False, metadata=at("directMesh"))
    owned_addresses: tuple[str, ...] = attrs.field(default=(), metadata=at("mobility.ownedAddresses"))
    asn: int = attrs.field(default=0, metadata=at("bgp.asn"))
    router_id: str = attrs.field(default="", converter=_trimmed, metadata=at("bgp.routerID"))
    expires_at: str = attrs.field(default="", converter=_trimmed, metadata=at("expiresAt"))
    revoked: bool = attrs.field(default=False, metadata=at("revoked"))
    wireguard: ClaimWireGuard | None = attrs.field(default=None, metadata=at("wireGuard"))
    placement: Placement | None = attrs.field(default=None, metadata=at("placement"))

    @property
    def ref(self) -> str:
        """Return `SAMEnrollmentClaim/<name>`."""
        return f"SAMEnrollmentClaim/{self.name}"

    @property
    def policy(self) -> str:
        """Return the reference to its policy in one spelling, `SAMEnrollmentPolicy/<name>`."""
        found = Ref.parse(self.policy_ref)
        return f"{found.kind or 'SAMEnrollmentPolicy'}/{found.name}"

    @property
    def public_key(self) -> str:
        """Return the WireGuard key, empty when the claim has none."""
        return self.wireguard.public_key if self.wireguard is not None else ""

    @property
    def tunnel_host(self) -> IPAddress:
        """Return the tunnel address without its /32."""
        return host(self.tunnel_address.removesuffix("/32"))

    @property
    def endpoint_host(self) -> IPAddress:
        """Return the outer address of the leaf's tunnel: the endpoint, else the tunnel address."""
        return host(self.endpoint.removesuffix("/32")) if self.endpoint else self.tunnel_host

    @property
    def router_host(self) -> IPv4Address | None:
        """Return the BGP router ID, or none when the leaf names none."""
        return _ipv4(self.router_id.removesuffix("/32")) if self.router_id else None

    @property
    def owned(self) -> frozenset[IPNetwork]:
        """Return the host prefixes that the leaf claims."""
        return frozenset(prefix(text.strip()) for text in self.owned_addresses)

    @property
    def routed(self) -> frozenset[IPNetwork]:
        """Return the prefixes that WireGuard sends to the leaf: its tunnel address and AllowedIPs.

        WireGuard gives an address to the last peer that asks for it.
        """
        if self.wireguard is None:
            return frozenset()
        return frozenset({host_prefix(self.tunnel_host), *self.wireguard.allowed})


@attrs.frozen(kw_only=True)
class AdmittedClaim:
    """A claim that a route reflector accepted and stored; it survives restarts.

    `expires_at` is the true end: the earlier of the claim's own and join time plus policy TTL.
    `digest` is that of the claim as its leaf submitted it; the leaf proves itself by it later.
    `source` is the address that submitted it, none for a Unix socket. A claim that had ended when
    another leaf got something of it is `superseded`: it stays ended even if the clock is set back.
    `method` is the join method that checked its proof, empty for a claim of an earlier routerd.
    """

    claim: Claim
    admitted_at: datetime
    expires_at: datetime | None
    digest: str = ""
    source: IPAddress | None = None
    superseded: bool = False
    method: str = ""

    def active(self, now: datetime) -> bool:
        """Say whether the claim still admits its leaf at `now`."""
        return (
            not self.claim.revoked
            and not self.superseded
            and (self.expires_at is None or now < self.expires_at)
        )


@attrs.frozen(kw_only=True)
class ReflectorWireGuard:
    """WireGuard identity of a route reflector in a fetched topology."""

    public_key: PublicKey
    endpoint: Endpoint
    allowed_ips: tuple[IPNetwork, ...]
    persistent_keepalive: int = 0


@attrs.frozen(kw_only=True)
class Reflector:
    """A route reflector as a leaf knows it, in neither dialect.

    `transport_address` is the outer address of the tunnel: the inner WireGuard address where the
    tunnel is encrypted, the public endpoint where it is not.
    """

    node: str
    transport_address: IPAddress
    endpoint: IPAddress | None = None
    tunnel_address: IPAddress | None = None
    wireguard: ReflectorWireGuard | None = None
    asn: int | None = None
    router_id: IPv4Address | None = None


@attrs.frozen(kw_only=True)
class Topology:
    """What a leaf fetched from a route reflector: who the reflectors are."""

    rr_set: str
    reflectors: tuple[Reflector, ...]
    claim_digest: str = ""
    fetched_at: datetime | None = None
    expires_at: datetime | None = None
