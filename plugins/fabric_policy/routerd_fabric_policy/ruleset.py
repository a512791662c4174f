"""The rules of our table of nftables as values: as derived from a policy, and as read from the kernel.

::

    table inet routerd_policy {
        counter replies {}                  one for each rule, too
        set links { type ifname }           the tunnels of the fabric
        set office_1a2b3c4d { type ipv4_addr; flags interval }
        chain owner-routerd {}              the mark of the table as ours
        chain judge {
            ct state established,related counter name "replies" accept
            ip saddr @office_1a2b3c4d tcp dport { 22 } counter name "rule_ssh" accept comment "..."
            counter name "default" drop comment "the default: drop"
        }
        chain forward {
            type filter hook forward priority filter; policy accept;
            iifname @links jump judge
        }
    }

Both come to the same values. So the loop compares them, and `verify` evaluates what the kernel holds.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, summarize_address_range
from socket import getprotobyname
from typing import Any

import attrs

from routerd_fabric_policy.policy import Policy, Ports, protocol_number
from routerd_fabric_policy.verdict import DEFAULT

FAMILY, TABLE = "inet", "routerd_policy"
MARK = "owner-routerd"
FORWARD, JUDGE = "forward", "judge"
LINKS = "links"
REPLIES, DEFAULT_COUNTER = "replies", "default"

_MAX_COMMENT = 120
_ADMIN = {"type": "icmpx", "expr": "admin-prohibited"}

Json = Mapping[str, Any]  # Any: JSON of nft


@attrs.frozen(kw_only=True)
class Element:
    """The key of one member of a set: a prefix, or the name of a link."""

    set: str
    member: str


@attrs.frozen(kw_only=True)
class Line:
    """One rule of a chain. Sides are `@set` or a prefix; an empty one stands for every value.

    `verdict` is `accept`, `drop`, `reject` or `jump CHAIN`. `alien` is the JSON of a rule that
    routerd does not understand.
    """

    links: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    destination: tuple[str, ...] = ()
    protocol: int | None = None
    ports: Ports = ()
    counter: str = ""
    verdict: str = ""
    comment: str = ""
    alien: str = ""

    @property
    def label(self) -> str:
        """Return the part of the comment that names the rule."""
        return self.comment.partition(": ")[0]


@attrs.frozen(kw_only=True)
class Chain:
    """A chain and its lines; a base chain has a `hook`, with its priority and policy."""

    name: str
    hook: str = ""
    lines: tuple[Line, ...] = ()


@attrs.frozen(kw_only=True)
class Ruleset:
    """The chains of our table in the order of their names; `strange` is what else is in it and not ours."""

    chains: tuple[Chain, ...] = ()
    strange: tuple[str, ...] = ()

    def chain(self, name: str) -> Chain | None:
        """Return a chain, or none."""
        return next((chain for chain in self.chains if chain.name == name), None)

    @property
    def lines(self) -> tuple[Line, ...]:
        """Return the lines of all chains."""
        return tuple(line for chain in self.chains for line in chain.lines)

    @property
    def sets(self) -> frozenset[str]:
        """Return the names of the sets of addresses to which the lines refer."""
        sides = (item for line in self.lines for item in (*line.source, *line.destination))
        return frozenset(item[1:] for item in sides if item.startswith("@"))

    @property
    def counters(self) -> frozenset[str]:
        """Return the names of the counters of the lines."""
        return frozenset(line.counter for line in self.lines if line.counter)

    def __str__(self) -> str:
        chain = self.chain(JUDGE)
        texts = [line.comment or line.alien or line.verdict for line in (chain.lines if chain else ())]
        return "; ".join((*texts, *self.strange)) or "no rules"


@attrs.frozen(kw_only=True)
class Held:
    """What the kernel holds under the name of our table.

    `ours` says whether the table carries our mark; a table that is not there has no content.
    """

    exists: bool = False
    ours: bool = False
    ruleset: Ruleset = Ruleset()
    sets: Mapping[str, frozenset[str]] = attrs.field(factory=dict)
    counters: Mapping[str, tuple[int, int]] = attrs.field(factory=dict)


_FORWARD_CHAIN = Chain(
    name=FORWARD,
    hook="filter forward 0 accept",
    lines=(Line(links=(f"@{LINKS}",), verdict=f"jump {JUDGE}"),),
)


def ruleset_of(policy: Policy) -> Ruleset:
    """Return the rules that enforce a policy."""
    replies = Line(
        states=("established", "related"), counter=REPLIES, verdict="accept", comment="replies: accept"
    )
    rules = [
        Line(
            source=_side(rule.source.set_name),
            destination=_side(rule.destination.set_name),
            protocol=rule.protocol,
            ports=rule.ports,
            counter=rule.counter,
            verdict=rule.action,
            comment=f"{rule.label}: {rule}"[:_MAX_COMMENT],
        )
        for rule in policy.rules
    ]
    default = Line(counter=DEFAULT_COUNTER, verdict=policy.default, comment=f"{DEFAULT}: {policy.default}")
    return Ruleset(chains=(_FORWARD_CHAIN, Chain(name=JUDGE, lines=(replies, *rules, default))))


def member(network: IPv4Network) -> str:
    """Return a prefix as the member of a set."""
    return str(network.network_address) if network.prefixlen == 32 else str(network)


def networks_of(text: str) -> list[IPv4Network]:
    """Return a member of a set of addresses as prefixes; a foreign one may be a range."""
    first, _, last = text.partition("-")
    return _networks({"range": [first, last]}) if last else [IPv4Network(text)]


def outermost(networks: Iterable[IPv4Network]) -> frozenset[IPv4Network]:
    """Return the prefixes that are in no other one; neighbours stay apart, so that each can come and go."""
    kept: list[IPv4Network] = []
    for network in sorted(set(networks)):
        if not kept or not network.subnet_of(kept[-1]):
            kept.append(network)
    return frozenset(kept)


def _side(name: str) -> tuple[str, ...]:
    return (f"@{name}",) if name else ()


# --- from the kernel -------------------------------------------------------------------------------


def parsed(text: str) -> Held:
    """Return what `nft -j list table` shows."""
    chains: dict[str, Chain] = {}
    sets: dict[str, frozenset[str]] = {}
    counters: dict[str, tuple[int, int]] = {}
    strange: list[str] = []
    for item in json.loads(text)["nftables"]:
        ((kind, found),) = item.items()
        if kind == "chain":
            hook = " ".join(str(found[part]) for part in ("type", "hook", "prio", "policy") if part in found)
            chains[found["name"]] = Chain(name=found["name"], hook=hook)
        elif kind == "rule":
            before = chains[found["chain"]]
            chains[before.name] = attrs.evolve(before, lines=(*before.lines, _line(found)))
        elif kind == "counter":
            counters[found["name"]] = found["packets"], found["bytes"]
        elif kind == "set" and (members := _members(found)) is not None:
            sets[found["name"]] = members
        elif kind not in ("table", "metainfo"):
            strange.append(json.dumps(item, sort_keys=True))
    ours = MARK in chains
    kept = tuple(chain for name, chain in sorted(chains.items()) if name != MARK or chain.lines)
    return Held(
        exists=True,
        ours=ours,
        ruleset=Ruleset(chains=kept, strange=tuple(strange)),
        sets=sets,
        counters=counters,
    )


def _members(found: Json) -> frozenset[str] | None:
    """Return the members of a set of ours, or none for a set of another shape."""
    if found["name"] == LINKS:
        if found["type"] != "ifname" or "flags" in found:
            return None
        return frozenset(each for each in found.get("elem", ()) if isinstance(each, str))
    if found["type"] != "ipv4_addr" or found.get("flags") != ["interval"]:
        return None
    return frozenset(map(_member, found.get("elem", ())))


def _member(found: object) -> str:
    """Return an address, a prefix or a range of nft's JSON as nft wants to read it."""
    if isinstance(found, dict) and (ends := found.get("range")) is not None:
        return f"{ends[0]}-{ends[1]}"
    (network,) = _networks(found)
    return member(network)


def _networks(found: object) -> list[IPv4Network]:
    """Return an address, a prefix or a range of nft's JSON as prefixes."""
    if isinstance(found, str):
        return [IPv4Network(found)]
    if isinstance(found, dict):
        if (prefix := found.get("prefix")) is not None:
            return [IPv4Network((prefix["addr"], prefix["len"]))]
        if (ends := found.get("range")) is not None:
            return list(summarize_address_range(IPv4Address(ends[0]), IPv4Address(ends[1])))
        if (element := found.get("elem")) is not None:
            return _networks(element["val"])
    raise ValueError(f"{found!r} is not a prefix")


def _line(found: Json) -> Line:
    """Return a rule of nft's JSON; one that says more than a `Line` can is alien."""
    expressions = found.get("expr", ())
    try:
        line = Line(comment=found.get("comment", ""))
        for each in expressions:
            line = _with(line, each)
        return line if line.verdict else attrs.evolve(line, alien=_text(expressions))
    except (KeyError, TypeError, ValueError, OSError):
        verdict = next(
            (kind for kind in ("accept", "drop", "reject") if kind in (expressions or ({},))[-1]), ""
        )
        return Line(comment=found.get("comment", ""), verdict=verdict, alien=_text(expressions))


def _text(expressions: Sequence[Json]) -> str:
    return json.dumps(list(expressions), sort_keys=True)


def _with(line: Line, expression: Json) -> Line:
    ((kind, found),) = expression.items()
    if line.verdict:
        raise ValueError(f"{kind} after the verdict")
    if kind in ("accept", "drop"):
        return attrs.evolve(line, verdict=kind)
    if kind == "reject" and found == _ADMIN:
        return attrs.evolve(line, verdict=kind)
    if kind == "jump":
        return attrs.evolve(line, verdict=f"jump {found['target']}")
    if kind == "counter":
        return attrs.evolve(line, counter=found if isinstance(found, str) else line.counter)
    if kind == "match":
        return _with_match(line, found["op"], found["left"], found["right"])
    raise ValueError(f"{kind} is not a statement of ours")


def _with_match(line: Line, op: str, left: Json, right: Any) -> Line:  # noqa: ANN401 - JSON of nft
    if left == {"ct": {"key": "state"}} and op == "in" and not line.states:
        return attrs.evolve(line, states=tuple(sorted([right] if isinstance(right, str) else right)))
    if op != "==":
        raise ValueError(f"{op} is not a comparison of ours")
    if left == {"meta": {"key": "iifname"}} and not line.links:
        return attrs.evolve(line, links=_texts(right))
    if left == {"meta": {"key": "l4proto"}} and line.protocol is None:
        return attrs.evolve(line, protocol=_number(right))
    payload = left["payload"]
    if payload == {"protocol": "ip", "field": "saddr"} and not line.source:
        return attrs.evolve(line, source=_addresses(right))
    if payload == {"protocol": "ip", "field": "daddr"} and not line.destination:
        return attrs.evolve(line, destination=_addresses(right))
    if payload == {"protocol": "ip", "field": "protocol"} and line.protocol is None:
        return attrs.evolve(line, protocol=_number(right))
    if payload["field"] == "dport" and line.protocol is None and not line.ports:
        return attrs.evolve(line, protocol=protocol_number(payload["protocol"]), ports=_ports(right))
    raise ValueError(f"{left} is not a match of ours")


def _texts(right: Any) -> tuple[str, ...]:  # noqa: ANN401 - JSON of nft
    items = right["set"] if isinstance(right, dict) else [right]
    if not all(isinstance(item, str) for item in items):
        raise ValueError(f"{right} is not a list of names")
    return tuple(sorted(items))


def _addresses(right: Any) -> tuple[str, ...]:  # noqa: ANN401 - JSON of nft
    if isinstance(right, str) and right.startswith("@"):
        return (right,)
    items = right["set"] if isinstance(right, dict) and "set" in right else [right]
    return tuple(sorted(member(network) for item in items for network in _networks(item)))


def _ports(right: Any) -> Ports:  # noqa: ANN401 - JSON of nft
    items = right["set"] if isinstance(right, dict) and "set" in right else [right]
    found = [tuple(item["range"]) if isinstance(item, dict) else (item, item) for item in items]
    return tuple(sorted((int(low), int(high)) for low, high in found))


def _number(right: Any) -> int:  # noqa: ANN401 - JSON of nft
    try:
        return protocol_number(str(right))
    except ValueError:
        return getprotobyname(str(right))
