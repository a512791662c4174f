"""A `FabricPolicy` of the file as a `Policy`, and every mistake in it with its field. Pure."""

import re
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Network, ip_network

import attrs

from routerd.errors import Problem
from routerd.model.resource import Resource
from routerd_fabric_policy.boxes import merged
from routerd_fabric_policy.kinds import FabricPolicySpec, RuleSpec, listed
from routerd_fabric_policy.policy import (
    PROTOCOLS,
    WITH_PORTS,
    Place,
    Policy,
    Ports,
    Rule,
    Test,
    protocol_name,
    protocol_number,
)

Report = Callable[[str, str, str], None]
"""Notes a mistake: the field, what is wrong, and what to write."""

LEAF = "leaf:"
# It goes into comments of nftables, which end at a quotation mark.
_LEAF_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/-]*\Z")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}\Z")
_TEST = re.compile(
    r"(?P<source>\S+) +(?P<verb>reaches|does +not +reach) +(?P<destination>\S+)"
    r"(?: +by +(?P<protocol>[^\s/]+)(?:/(?P<port>\S+))?)?\Z"
)
_WRITE_A_TEST = 'write "10.81.10.20 reaches 10.83.10.20 by tcp/22" or "10.99.9.10 does not reach 10.81.10.20"'
_WRITE_A_PLACE = "write a prefix such as 10.81.10.0/24, an address, leaf:ID, any, or the name of a set"


def read(resource: Resource[FabricPolicySpec]) -> tuple[Policy, list[Problem]]:
    """Return the policy and what is wrong with it; with a mistake the policy lacks the faulty parts."""
    problems: list[Problem] = []

    def report(path: str, message: str, hint: str) -> None:
        problems.append(resource.problem(path, message, hint))

    spec = resource.spec
    sets = _Sets(spec.sets, report)
    sets.check()
    rules = tuple(_rules(spec.rules, sets, report))
    policy = Policy(
        ref=resource.id.ref, rules=rules, default=spec.default, tests=tuple(_tests(spec.tests, report))
    )
    return policy, problems


@attrs.define
class _Sets:
    """The named sets of a file, with the sets in them."""

    texts: Mapping[str, tuple[str, ...]]
    report: Report

    def check(self) -> None:
        for name, items in self.texts.items():
            path = f"spec.sets.{name}"
            if not _NAME.match(name) or name in ("any", "list"):
                self.report(path, f'"{name}" cannot be the name of a set', _write_a_name("branch-offices"))
            if not items:
                self.report(path, "the set is empty", _WRITE_A_PLACE)
            self.members(items, path, (name,))

    def place(self, items: tuple[str, ...], path: str) -> Place:
        """Return the place that a side of a rule names."""
        if not items:
            self.report(path, "the list is empty", _WRITE_A_PLACE)
            return Place()
        if "any" in items:
            if len(items) > 1:
                self.report(path, '"any" has company', "write any by itself; it stands for every address")
            return Place()
        known = items[0] in self.texts and len(items) == 1
        prefixes, leaves = self.members(items, path, ())
        name = items[0] if known or len(items) == 1 else ", ".join(items[:3]) + ", ..." * (len(items) > 3)
        return Place(name=name, prefixes=prefixes, leaves=leaves)

    def members(
        self, items: tuple[str, ...], path: str, within: tuple[str, ...]
    ) -> tuple[frozenset[IPv4Network], frozenset[str]]:
        """Return the prefixes and the leaves of items; `within` are the sets around them."""
        prefixes: set[IPv4Network] = set()
        leaves: set[str] = set()
        for at, item in enumerate(items):
            where = f"{path}[{at}]"
            if item.startswith(LEAF):
                leaf = item.removeprefix(LEAF)
                leaves.add(leaf)
                if not _LEAF_ID.match(leaf):
                    self.report(where, f'"{leaf}" is not a leaf ID', "write leaf: and the leafID of a claim")
            elif item in within:
                self.report(where, f"the set {item} contains itself", "remove it here")
            elif item in self.texts:
                # The mistakes of an inner set are reported once, at the set itself.
                inner = _Sets(self.texts, _silent).members(self.texts[item], where, (*within, item))
                prefixes |= inner[0]
                leaves |= inner[1]
            elif (network := _network(item, where, self.report, _hint_of_place(self.texts))) is not None:
                prefixes.add(network)
        return frozenset(prefixes), frozenset(leaves)


def _rules(specs: tuple[RuleSpec, ...], sets: _Sets, report: Report) -> Iterator[Rule]:
    names: dict[str, int] = {}
    for at, spec in enumerate(specs):
        path = f"spec.rules[{at}]"
        if spec.name and not _NAME.match(spec.name):
            report(
                f"{path}.name",
                f'"{spec.name}" cannot be the name of a rule',
                _write_a_name("ssh-from-office"),
            )
        if spec.name and spec.name in names:
            report(
                f"{path}.name", f"rule {names[spec.name]} has this name", "give each rule a name of its own"
            )
        names.setdefault(spec.name, at + 1)
        protocol = _protocol(spec.protocol, f"{path}.protocol", report)
        yield Rule(
            number=at + 1,
            name=spec.name,
            source=sets.place(listed(spec.source), f"{path}.from"),
            destination=sets.place(listed(spec.destination), f"{path}.to"),
            protocol=protocol,
            ports=_ports(spec, protocol, f"{path}.ports", report),
            action=spec.action,
        )


def _tests(texts: tuple[str, ...], report: Report) -> Iterator[Test]:
    for at, text in enumerate(texts):
        path = f"spec.tests[{at}]"
        found = _TEST.match(text.strip())
        if found is None:
            report(path, f'"{text}" is not a test', _WRITE_A_TEST)
            continue
        protocol = _protocol(found["protocol"] or "", path, report)
        source = _network(found["source"], path, report, _WRITE_A_TEST)
        destination = _network(found["destination"], path, report, _WRITE_A_TEST)
        port = 0
        if found["port"]:
            port = _port(found["port"]) or 0
            if not port:
                report(path, f'"{found["port"]}" is not a port', _WRITE_A_TEST)
            elif protocol is not None and protocol not in WITH_PORTS:
                report(path, f"{protocol_name(protocol)} has no ports", f"write by {protocol_name(protocol)}")
        if source is not None and destination is not None:
            yield Test(
                number=at + 1,
                text=" ".join(text.split()),
                source=source,
                destination=destination,
                reaches=found["verb"] == "reaches",
                protocol=protocol,
                port=port,
            )


def read_test(text: str, number: int) -> Test | None:
    """Return a test that was read before, or none when it is not a test."""
    found = next(iter(_tests((text,), _silent)), None)
    return attrs.evolve(found, number=number) if found is not None else None


def _protocol(text: str, path: str, report: Report) -> int | None:
    if not text:
        return None
    try:
        return protocol_number(text)
    except ValueError:
        report(path, f'"{text}" is not a protocol', f"write a number, or one of {', '.join(PROTOCOLS)}")
        return None


def _ports(spec: RuleSpec, protocol: int | None, path: str, report: Report) -> Ports:
    found = []
    texts = listed(spec.ports)
    if texts and protocol is None and not spec.protocol:
        report(path, "a port without a protocol", "write protocol: tcp or protocol: udp beside it")
    elif texts and protocol is not None and protocol not in WITH_PORTS:
        with_ports = ", ".join(WITH_PORTS.values())
        report(path, f"{protocol_name(protocol)} has no ports", f"remove ports, or write one of {with_ports}")
    for text in texts:
        first, dash, last = text.partition("-")
        low, high = _port(first), _port(last) if dash else _port(first)
        if low is None or high is None or low > high:
            report(
                path,
                f'"{text}" is not a port',
                "write a number from 1 to 65535, or a range such as 8000-8010",
            )
        else:
            found.append((low, high))
    return merged(found)


def _port(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isdecimal() and 1 <= int(text) <= 65535 else None


def _network(text: str, path: str, report: Report, hint: str) -> IPv4Network | None:
    try:
        found = ip_network(text)
    except ValueError as error:
        if "host bits set" in str(error):
            report(path, f"{text} has host bits set", f"write {ip_network(text, strict=False)}")
        else:
            report(path, f'"{text}" is not a prefix, an address or a set of the file', hint)
        return None
    if not isinstance(found, IPv4Network):
        report(path, f"{text} is of IPv6, which the fabric does not carry", "write an IPv4 prefix")
        return None
    return found


def _hint_of_place(sets: Mapping[str, object]) -> str:
    return f"{_WRITE_A_PLACE}; the file has {', '.join(sorted(sets))}" if sets else _WRITE_A_PLACE


def _write_a_name(example: str) -> str:
    return f"use up to 31 lower-case letters, digits and hyphens, such as {example}"


def _silent(path: str, message: str, hint: str) -> None:
    """Report nothing."""
