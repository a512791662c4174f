"""A policy as values: places, rules, tests. Pure; nothing here knows nftables or the file."""

from hashlib import sha256
from ipaddress import IPv4Network
from typing import Literal

import attrs

Action = Literal["accept", "drop", "reject"]
Ports = tuple[tuple[int, int], ...]
"""Ranges of destination ports, both ends included; an empty one stands for every port."""

PROTOCOLS = {
    "icmp": 1, "igmp": 2, "ipip": 4, "tcp": 6, "udp": 17, "dccp": 33, "gre": 47, "esp": 50, "ah": 51,
    "ospf": 89, "sctp": 132, "udplite": 136,
}  # fmt: skip
"""Numbers of IP protocols by the names that a file and a flow may use."""

WITH_PORTS = {6: "tcp", 17: "udp", 132: "sctp"}
"""Protocols that have ports, by number."""


def protocol_name(number: int) -> str:
    """Return the name of a protocol, or its number as text."""
    return next((name for name, known in PROTOCOLS.items() if known == number), str(number))


def protocol_number(text: str) -> int:
    """Return the number of a protocol by its name or its number; `ValueError` when it is neither."""
    known = PROTOCOLS.get(text.strip().lower())
    number = known if known is not None else int(text) if text.isdecimal() else 256
    if number > 255:
        raise ValueError(f'"{text}" is not a protocol')
    return number


def by_text(protocol: int | None, ports: Ports) -> str:
    """Return a protocol with its ports as a person writes them, such as ` by tcp/22,80`."""
    if protocol is None:
        return ""
    listed = ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ports)
    return f" by {protocol_name(protocol)}{f'/{listed}' if listed else ''}"


@attrs.frozen(kw_only=True)
class Place:
    """The addresses of one side of a rule; no `prefixes` and no `leaves` stand for every address.

    A leaf stands for the addresses that its admitted claim owns. `name` is what the file calls the place.
    """

    name: str = "any"
    prefixes: frozenset[IPv4Network] = frozenset()
    leaves: frozenset[str] = frozenset()

    @property
    def anywhere(self) -> bool:
        """Say whether the place is every address."""
        return not self.prefixes and not self.leaves

    @property
    def set_name(self) -> str:
        """Return the name of its set in nftables, empty for every address.

        It holds a digest of what the file says. So an edit makes another set, the rules change to it in one
        step, and only the addresses of a leaf are ever added to a set or removed.
        """
        if self.anywhere:
            return ""
        content = "\n".join([*sorted(map(str, self.prefixes)), "", *sorted(self.leaves)])
        name = self.name if self.name.replace("-", "").isalnum() else "list"
        return f"{name}_{sha256(content.encode()).hexdigest()[:8]}"


@attrs.frozen(kw_only=True)
class Rule:
    """One rule; `number` counts from 1 in the order of the file. No `protocol` stands for every one."""

    number: int
    name: str = ""
    source: Place = Place()
    destination: Place = Place()
    protocol: int | None = None
    ports: Ports = ()
    action: Action

    @property
    def label(self) -> str:
        """Return how messages call the rule: `rule 3 (ssh)`."""
        return f"rule {self.number} ({self.name})" if self.name else f"rule {self.number}"

    @property
    def counter(self) -> str:
        """Return the name of its counter, which survives a change of the other rules."""
        return f"rule_{self.name or self.number}"

    def __str__(self) -> str:
        by = by_text(self.protocol, self.ports)
        return f"{self.action} {self.source.name} to {self.destination.name}{by}"


@attrs.frozen(kw_only=True)
class Test:
    """A line of `tests:`; no `protocol` stands for every one, a `port` of 0 for every port."""

    number: int
    text: str
    source: IPv4Network
    destination: IPv4Network
    reaches: bool
    protocol: int | None = None
    port: int = 0


@attrs.frozen(kw_only=True)
class Policy:
    """Rules in their order, and what becomes of packets that none of them matches."""

    ref: str
    rules: tuple[Rule, ...] = ()
    default: Action
    tests: tuple[Test, ...] = ()

    @property
    def places(self) -> dict[str, Place]:
        """Return the places that need a set, by the set's name."""
        both = (place for rule in self.rules for place in (rule.source, rule.destination))
        return {place.set_name: place for place in both if not place.anywhere}
