"""What the rules in the kernel really do, by evaluating what nft shows of them. Pure.

Nothing here knows what was intended: a rule that somebody changed counts as it is now.
"""

from collections.abc import Iterator, Sequence

import attrs

from routerd_fabric_policy.boxes import ADDRESSES, Clause, Region, Spans
from routerd_fabric_policy.expected import Expected
from routerd_fabric_policy.ruleset import Chain, Held, Line, networks_of
from routerd_fabric_policy.verdict import OWN_SITE, Outcome, ports_region, spans_of, tried

NOTHING = "the kernel, which judges no packet of {link},"
_HOPS = 8
"""Maximum jumps from the base chain; the kernel allows 16, and ours takes one."""


def outcomes(held: Held, expected: Expected) -> tuple[Outcome, ...]:
    """Return whether each test holds in the kernel, for a packet of each link that the policy judges.

    Of the links on which a test has different outcomes, the worst is told.
    """
    by_links = [clauses(held, link, expected) for link in expected.links or ("",)]
    return tuple(_worst([tried(test, found) for found in by_links]) for test in expected.tests)


def clauses(held: Held, link: str, expected: Expected) -> tuple[Clause, ...]:
    """Return the rules of the kernel in the order in which a packet of `link` meets them."""
    own = Clause(label=OWN_SITE, passes=True, region=Region(source=spans_of(expected.own)))
    base = [chain for chain in held.ruleset.chains if chain.hook] if held.ours else []
    return (
        *((own,) if expected.own else ()),
        *(each for chain in base for each in _chain(held, chain, link, _HOPS)),
        Clause(label=NOTHING.format(link=link), passes=True),
    )


def _chain(held: Held, chain: Chain, link: str, hops: int) -> Iterator[Clause]:
    for line in chain.lines:
        if line.links and not _on(held, line, link):
            continue
        if line.states and "new" not in line.states and not line.alien:
            # It is about replies. A test is about the first packet of a flow.
            continue
        yield from _line(held, line, link, hops)
    if chain.hook and not chain.hook.endswith("accept"):
        yield Clause(label=f"the policy of chain {chain.name}", passes=False)


def _line(held: Held, line: Line, link: str, hops: int) -> Iterator[Clause]:
    verb, _, target = line.verdict.partition(" ")
    region = _region(held, line)
    known = {"accept": True, "drop": False, "reject": False}
    if line.alien or (verb == "jump" and (region != Region() or not hops)):
        # A foreign rule may match anything; a jump of only some packets is one, too.
        label = f"a rule that routerd does not know ({line.alien or line.verdict})"
        yield Clause(label=label, passes=known.get(verb), region=Region(source=()), wide=Region())
    elif verb == "jump":
        chain = held.ruleset.chain(target)
        yield from _chain(held, attrs.evolve(chain, hook=""), link, hops - 1) if chain is not None else ()
    else:
        label = line.label or f"a foreign rule ({line.verdict})"
        yield Clause(label=label, passes=known[verb], region=region)


def _on(held: Held, line: Line, link: str) -> bool:
    """Say whether a line is about packets of a link; no link stands for a tunnel that is still to come."""
    return not link or any(
        link in held.sets.get(item[1:], frozenset()) if item.startswith("@") else item == link
        for item in line.links
    )


def _region(held: Held, line: Line) -> Region:
    protocols, ports = ports_region(line.protocol, line.ports)
    return Region(
        source=_side(held, line.source),
        destination=_side(held, line.destination),
        protocols=protocols,
        ports=ports,
    )


def _side(held: Held, items: tuple[str, ...]) -> Spans:
    if not items:
        return (ADDRESSES,)
    members = (
        each
        for item in items
        for each in (held.sets.get(item[1:], frozenset()) if item.startswith("@") else (item,))
    )
    return spans_of([network for each in members for network in networks_of(each)])


def _worst(found: Sequence[Outcome]) -> Outcome:
    order = {False: 0, None: 1, True: 2}
    return min(found, key=lambda outcome: order[outcome.holds])
