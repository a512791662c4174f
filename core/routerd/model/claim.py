"""A leaf's claim to join the fabric, and what a route reflector made of it.

The fields are those of the `SAMEnrollmentClaim` resource. Scalars keep the very text that was
signed where the signature covers text (nonce, timestamp, addresses): normalising "10.0.0.1" to
"10.0.0.1/32" would change the signature. Typed views are given beside them.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from socket import AF_INET, inet_pton

import attrs

from routerd.model.names import PublicKey
from routerd.model.tunnel import Endpoint


# A claim is asked for its addresses again and again while it is judged and derived from, and its
# fields keep the signed text; parsing that text anew each time was a third of the cost of a claim.
@lru_cache(maxsize=8192)
def host(text: str) -> IPv4Address:
    """Return the address that `text` is, in its one usual spelling; `ValueError` when it is none."""
    try:
        return IPv4Address(inet_pton(AF_INET, text))
    except OSError as error:
        raise ValueError(f"{text} is no IPv4 address") from error


@lru_cache(maxsize=8192)
def prefix(text: str) -> IPv4Network:
    """Return the prefix that `text` is; `ValueError` when it is none."""
    address, slash, length = text.partition("/")
    if slash and length != "32":
        return IPv4Network(text)
    return IPv4Network((int(host(address)), 32))


def bare_name(ref: str) -> str:
    """Return the name in `SAMEnrollmentClaim/x`, which people also write alone."""
    return ref.strip().removeprefix("SAMEnrollmentClaim/")


@attrs.frozen(kw_only=True)
class ClaimWireGuard:
    """WireGuard identity in a claim; every field is the signed text."""

    public_key: PublicKey
    endpoint: str = ""
    allowed_ips: tuple[str, ...] = ()
    persistent_keepalive: int = 0

    @property
    def udp_endpoint(self) -> Endpoint | None:
        """Return the endpoint, or none when the leaf gave none (it is behind NAT)."""
        if not self.endpoint:
            return None
        address, _, port = self.endpoint.strip().rpartition(":")
        return Endpoint(address=host(address), port=int(port))

    @property
    def allowed(self) -> frozenset[IPv4Network]:
        """Return the allowed IPs as networks."""
        return frozenset(prefix(text.strip()) for text in self.allowed_ips)


@attrs.frozen(kw_only=True)
class Placement:
    """Which one of a site's routers a leaf is.

    The leaves of a `group` may claim the same addresses; of those that are there, the one with the
    lowest `priority` is active.
    """

    group: str
    priority: int


@attrs.frozen(kw_only=True)
class Claim:
    """A claim under its resource name, as signed by the leaf."""

    name: str
    policy_ref: str
    leaf_id: str
    tunnel_address: str
    rr_set_ref: str = ""
    join_audience: str = ""
    join_nonce: str = ""
    join_timestamp: str = ""
    join_hmac: str = attrs.field(default="", repr=False)
    endpoint: str = ""
    owned_addresses: tuple[str, ...] = ()
    asn: int = 0
    router_id: str = ""
    wireguard: ClaimWireGuard | None = None
    direct_mesh: bool = False
    placement: Placement | None = None
    expires_at: str = ""
    revoked: bool = False

    @property
    def ref(self) -> str:
        """Return `SAMEnrollmentClaim/<name>`."""
        return f"SAMEnrollmentClaim/{self.name}"

    @property
    def policy(self) -> str:
        """Return the reference to its policy in one spelling, `SAMEnrollmentPolicy/<name>`."""
        kind, _, name = self.policy_ref.strip().rpartition("/")
        return f"{kind or 'SAMEnrollmentPolicy'}/{name}"

    @property
    def tunnel_host(self) -> IPv4Address:
        """Return the tunnel address without its /32."""
        return host(self.tunnel_address.strip().removesuffix("/32"))

    @property
    def endpoint_host(self) -> IPv4Address:
        """Return the outer address of the leaf's tunnel: the endpoint, else the tunnel address."""
        text = self.endpoint.strip().removesuffix("/32")
        return host(text) if text else self.tunnel_host

    @property
    def router_host(self) -> IPv4Address | None:
        """Return the BGP router ID, or none when the leaf names none."""
        text = self.router_id.strip().removesuffix("/32")
        return host(text) if text else None

    @property
    def owned(self) -> frozenset[IPv4Network]:
        """Return the host prefixes that the leaf claims."""
        return frozenset(prefix(text.strip()) for text in self.owned_addresses)


@attrs.frozen(kw_only=True)
class AdmittedClaim:
    """A claim that a route reflector accepted and stored; it survives restarts.

    `expires_at` is the true end: the earlier of the claim's own and join time plus policy TTL.
    `digest` is that of the claim as its leaf submitted it, by which the leaf proves itself later;
    `source` is where it came from, none for a Unix socket. A claim that had ended when another
    leaf got something of it is `superseded`: no clock that is set back makes it hold again.
    """

    claim: Claim
    admitted_at: datetime
    expires_at: datetime | None
    digest: str = ""
    source: IPv4Address | IPv6Address | None = None
    superseded: bool = False

    def active(self, now: datetime) -> bool:
        """Say whether the claim still admits its leaf at `now`."""
        return (
            not self.claim.revoked
            and not self.superseded
            and (self.expires_at is None or now < self.expires_at)
        )


@attrs.frozen(kw_only=True)
class Submission:
    """A claim as it arrived, with what the listener knows of the sender."""

    claim: Claim
    source: IPv4Address | IPv6Address | None
    secret: str | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class ReflectorWireGuard:
    """WireGuard identity of a route reflector in a fetched topology."""

    public_key: PublicKey
    endpoint: Endpoint
    allowed_ips: tuple[IPv4Network, ...]
    persistent_keepalive: int = 0


@attrs.frozen(kw_only=True)
class Reflector:
    """A route reflector as a leaf knows it, in neither dialect.

    `transport_address` is the outer address of the tunnel: the inner WireGuard address where the
    tunnel is encrypted, the public endpoint where it is not.
    """

    node: str
    transport_address: IPv4Address
    endpoint: IPv4Address | None = None
    tunnel_address: IPv4Address | None = None
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
