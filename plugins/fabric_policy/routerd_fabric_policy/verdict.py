"""What a policy says about a flow, by pure evaluation; it may depend on what a leaf owns."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from ipaddress import IPv4Network
from typing import Literal

import attrs

from routerd.model.subsystem import Flow
from routerd_fabric_policy.boxes import (
    ADDRESSES,
    PORTS,
    PROTOCOL_NUMBERS,
    Box,
    Clause,
    Region,
    Span,
    Spans,
    merged,
    walk,
)
from routerd_fabric_policy.policy import Place, Policy, Ports, Rule, Test, protocol_number

Leaves = Mapping[str, Collection[IPv4Network]]
"""The addresses of the admitted leaves by leaf ID; a leaf that is absent may have any."""

Answer = Literal["passes", "stopped", "mixed", "unknown"]

DEFAULT = "the default"
OWN_SITE = "this router, which judges only packets that arrive by a tunnel,"


@attrs.frozen(kw_only=True)
class Verdict:
    """What becomes of the flows of a box, as labels of the rules that decide about parts of it.

    The rules of `passing` let a part pass, those of `stopping` stop one. `unclear` are the rules of parts
    about which nothing can be said, because it is not known what a leaf owns.
    """

    passing: tuple[str, ...] = ()
    stopping: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()

    @property
    def answer(self) -> Answer:
        """Return what becomes of the whole box."""
        if self.passing and self.stopping:
            return "mixed"
        if self.unclear:
            return "unknown"
        return "passes" if self.passing else "stopped"


@attrs.frozen(kw_only=True)
class Outcome:
    """Whether a test holds; `because` says which rule decides. `holds` is none while it is not known."""

    test: Test
    holds: bool | None
    because: str


def verdict(policy: Policy, leaves: Leaves, flow: Flow, own: Collection[IPv4Network] = ()) -> Verdict:
    """Return what a policy says about a flow; `own` are the addresses of this router's site."""
    return judged(clauses_of(policy, leaves, own), box_of(flow))


def clauses_of(policy: Policy, leaves: Leaves, own: Collection[IPv4Network] = ()) -> tuple[Clause, ...]:
    """Return a policy as clauses; the first lets pass what comes from this router's own site."""
    ours = Clause(label=OWN_SITE, passes=True, region=Region(source=spans_of(own)))
    return (
        *((ours,) if own else ()),
        *(_clause(rule, leaves) for rule in policy.rules),
        Clause(label=DEFAULT, passes=policy.default == "accept"),
    )


def judged(clauses: Sequence[Clause], box: Box) -> Verdict:
    """Return what clauses say about a box of flows."""
    found: dict[bool | None, dict[str, None]] = {True: {}, False: {}, None: {}}
    for part in walk(box, clauses):
        values = {clause.passes for clause in part.deciding}
        sure = values.pop() if len(values) == 1 else None
        found[sure].update(dict.fromkeys(clause.label for clause in part.deciding))
    return Verdict(passing=tuple(found[True]), stopping=tuple(found[False]), unclear=tuple(found[None]))


def tried(test: Test, clauses: Sequence[Clause]) -> Outcome:
    """Return whether a test holds, and which rule decides."""
    box = box_of_values(test.source, test.destination, test.protocol, test.port)
    found = judged(clauses, box)
    against, in_favour = (found.stopping, found.passing) if test.reaches else (found.passing, found.stopping)
    if against:
        what = "it" if found.answer in ("passes", "stopped") else "some of it"
        because = _decides(against, what, stop=test.reaches)
        return Outcome(test=test, holds=False, because=because)
    if found.unclear:
        return Outcome(test=test, holds=None, because=f"{' and '.join(found.unclear)} may decide")
    return Outcome(test=test, holds=True, because=_decides(in_favour, "it", stop=not test.reaches))


def uncovered(policy: Policy, rule: Rule) -> tuple[bool, tuple[str, ...]]:
    """Say whether any flow can reach a rule, and which earlier rules take its flows.

    A leaf is a place of its own here, whatever it owns: numbers above all addresses stand for the leaves.
    """
    names = sorted({leaf for place in policy.places.values() for leaf in place.leaves})
    everything: Span = (0, ADDRESSES[1] + len(names))
    numbers = {name: (ADDRESSES[1] + at, ADDRESSES[1] + at) for at, name in enumerate(names, start=1)}

    def side(place: Place) -> Spans:
        if place.anywhere:
            return (everything,)
        return merged([*spans_of(place.prefixes), *(numbers[leaf] for leaf in place.leaves)])

    def region(each: Rule) -> Region:
        return attrs.evolve(_region(each), source=side(each.source), destination=side(each.destination))

    earlier = [
        Clause(label=each.label, passes=each.action == "accept", region=region(each))
        for each in policy.rules
        if each.number < rule.number
    ]
    taken: dict[str, None] = {}
    for box in region(rule).boxes():
        for part in walk(box, earlier):
            if not part.deciding:
                return True, ()
            taken[part.deciding[-1].label] = None
    return False, tuple(taken)


def _decides(labels: Sequence[str], what: str, *, stop: bool) -> str:
    several = len(labels) > 1
    verb = f"stop{'' if several else 's'} {what}" if stop else f"let{'' if several else 's'} {what} pass"
    return f"{' and '.join(labels)} {verb}"


# --- boxes -----------------------------------------------------------------------------------------


def box_of(flow: Flow) -> Box:
    """Return the flows for which a flow stands; `ValueError` for one of IPv6."""
    if not isinstance(flow.source, IPv4Network) or not isinstance(flow.destination, IPv4Network):
        raise ValueError(f"{flow}: a policy has no rules for IPv6")  # noqa: TRY004 - a value, not a type
    protocol = protocol_number(flow.protocol) if flow.protocol else None
    return box_of_values(flow.source, flow.destination, protocol, flow.port)


def box_of_values(source: IPv4Network, destination: IPv4Network, protocol: int | None, port: int) -> Box:
    """Return a box; no `protocol` stands for every one, a `port` of 0 for every port."""
    return (
        _span(source),
        _span(destination),
        PROTOCOL_NUMBERS if protocol is None else (protocol, protocol),
        (port, port) if port else PORTS,
    )


def spans_of(networks: Collection[IPv4Network]) -> Spans:
    """Return networks as spans of numbers."""
    return merged([_span(network) for network in networks])


def ports_region(protocol: int | None, ports: Ports) -> tuple[Spans, Spans]:
    """Return the spans of protocols and of ports."""
    return (
        (PROTOCOL_NUMBERS,) if protocol is None else ((protocol, protocol),),
        merged(ports) if ports else (PORTS,),
    )


def _span(network: IPv4Network) -> Span:
    return int(network.network_address), int(network.broadcast_address)


def _clause(rule: Rule, leaves: Leaves) -> Clause:
    known = _region(rule)
    unknown = [not place.leaves <= leaves.keys() for place in (rule.source, rule.destination)]
    region = attrs.evolve(
        known, source=_side(rule.source, leaves), destination=_side(rule.destination, leaves)
    )
    wide = None
    if any(unknown):
        wide = attrs.evolve(
            region,
            source=(ADDRESSES,) if unknown[0] else region.source,
            destination=(ADDRESSES,) if unknown[1] else region.destination,
        )
    return Clause(label=rule.label, passes=rule.action == "accept", region=region, wide=wide)


def _region(rule: Rule) -> Region:
    protocols, ports = ports_region(rule.protocol, rule.ports)
    return Region(protocols=protocols, ports=ports)


def _side(place: Place, leaves: Leaves) -> Spans:
    return (ADDRESSES,) if place.anywhere else spans_of(tuple(_members(place, leaves)))


def _members(place: Place, leaves: Leaves) -> Iterator[IPv4Network]:
    yield from place.prefixes
    for leaf in place.leaves:
        yield from leaves.get(leaf, ())
