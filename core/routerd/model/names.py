"""Names and numbers that both ends of a tunnel compute alike, without talking to each other.

The functions reproduce the names of the existing SAM programs bit for bit, so that routers of
both kinds can meet in one fabric. Nothing here touches the host.
"""

import base64
import binascii
import hashlib
import re
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import NewType

import attrs

from routerd.model.addresses import IPAddress, IPInterface, IPNetwork

NodeName = NewType("NodeName", str)
"""Name of a router in the fabric: `metadata.name` of its `Router`, or a leaf's `leafID`."""

LinkName = NewType("LinkName", str)
"""Name of a network device; at most 15 bytes (`IFNAMSIZ` less the terminating NUL)."""

PublicKey = NewType("PublicKey", str)
"""Public key of an encrypting transport: 32 bytes in standard base64, 44 characters."""

MAX_LINK_NAME = 15


def is_public_key(text: str) -> bool:
    """Say whether `text` is a public key in the only notation that it has; 32 zeros are not one."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    # Encoded again: two texts may decode to one key, and keys are compared as texts.
    return len(raw) == 32 and any(raw) and base64.b64encode(raw).decode() == text


@attrs.frozen
class Ref:
    """How a resource names another one: `Kind/name`, or the bare name, whose `kind` is empty."""

    kind: str
    name: str

    @classmethod
    def parse(cls, text: str) -> "Ref":
        """Return the reference that `text` is; any text is one."""
        kind, _, name = text.strip().rpartition("/")
        return cls(kind, name)

    def may_be(self, kind: str) -> bool:
        """Say whether it names a resource of that kind, or leaves the kind open."""
        return self.kind in ("", kind) and bool(self.name)


_FNV64_OFFSET = 0xCBF29CE484222325
_FNV64_PRIME = 0x100000001B3
_FNV32_OFFSET = 0x811C9DC5
_FNV32_PRIME = 0x01000193


def fnv1a_64(data: bytes) -> int:
    """Return the 64-bit FNV-1a hash of `data`."""
    value = _FNV64_OFFSET
    for byte in data:
        value = ((value ^ byte) * _FNV64_PRIME) & 0xFFFFFFFFFFFFFFFF
    return value


def fnv1a_32(data: bytes) -> int:
    """Return the 32-bit FNV-1a hash of `data`."""
    value = _FNV32_OFFSET
    for byte in data:
        value = ((value ^ byte) * _FNV32_PRIME) & 0xFFFFFFFF
    return value


def tunnel_link_name(profile: str, self_node: str, peer_node: str) -> LinkName:
    """Return the device name of the tunnel from `self_node` to `peer_node`.

    The name depends on the direction: the two ends of one tunnel have different names.
    """
    digest = hashlib.sha256(f"{profile}\0{self_node}\0{peer_node}".encode()).hexdigest()
    return LinkName("samt" + digest[:11])


def conservative_name(text: str) -> str:
    """Return `text` in lower case with each run of other characters than a-z0-9 as one `-`."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def slot_capacity(inner_prefix: IPNetwork) -> int:
    """Return how many point-to-point networks `inner_prefix` holds: /31 (RFC 3021), or /127 (RFC 6164)."""
    length = _link_length(inner_prefix)
    if inner_prefix.prefixlen > length:
        raise ValueError(f"inner prefix {inner_prefix} holds no /{length}")
    return 1 << (length - inner_prefix.prefixlen)


def pair_slot(inner_prefix: IPNetwork, one: str, other: str) -> int:
    """Return the /31 slot of an unordered pair of nodes in `pair-stable` addressing."""
    low, high = sorted((one.strip(), other.strip()), key=str.encode)
    seed = "\0".join((str(inner_prefix), low, high)).encode()
    return fnv1a_64(seed) % slot_capacity(inner_prefix)


def edge_slot(nodes: tuple[str, ...], one: str, other: str) -> int:
    """Return the index of the pair among all sorted pairs of `nodes` (`edge-index` addressing).

    Every router must know the same list of nodes; `ValueError` when a node is not in it.
    """
    ordered = sorted(set(nodes), key=str.encode)
    low, high = sorted((ordered.index(one), ordered.index(other)))
    count = len(ordered)
    return low * count - low * (low + 1) // 2 + (high - low - 1)


def slot_network(inner_prefix: IPNetwork, slot: int) -> IPNetwork:
    """Return the /31 of a slot; one beyond the last of `inner_prefix` is outside of it."""
    base, length = int(inner_prefix.network_address) + 2 * slot, _link_length(inner_prefix)
    if isinstance(inner_prefix, IPv4Network):
        return IPv4Network((base, length))
    return IPv6Network((base, length))


def _link_length(prefix: IPNetwork) -> int:
    return prefix.max_prefixlen - 1


def slot_addresses(
    inner_prefix: IPNetwork, slot: int, self_node: str, peer_node: str
) -> tuple[IPInterface, IPAddress]:
    """Return our own /31 address and the peer's address; the bytewise lower name gets the even one."""
    network = slot_network(inner_prefix, slot)
    base = int(network.network_address)
    ours_is_low = self_node.strip().encode() < peer_node.strip().encode()
    ours, theirs = (base, base + 1) if ours_is_low else (base + 1, base)
    if isinstance(network, IPv4Network):
        return IPv4Interface((ours, network.prefixlen)), IPv4Address(theirs)
    return IPv6Interface((ours, network.prefixlen)), IPv6Address(theirs)
