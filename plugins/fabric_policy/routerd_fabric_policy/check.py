"""What is wrong with a policy of the file: mistakes, rules that never decide, tests that do not hold."""

from collections.abc import Iterator
from ipaddress import IPv4Network

from routerd.errors import Problem
from routerd.model.claim import Claim
from routerd.model.resource import Resource
from routerd.model.subsystem import FabricFacts
from routerd.spi import Resources
from routerd_fabric_policy.kinds import FabricPolicySpec
from routerd_fabric_policy.policy import Policy
from routerd_fabric_policy.reading import read
from routerd_fabric_policy.verdict import Leaves, clauses_of, tried, uncovered


def check(resources: Resources, facts: FabricFacts | None) -> Iterator[Problem]:
    """Yield every problem; without `facts` a test that depends on a leaf's addresses is not decided."""
    if not resources:
        return
    first, *others = resources
    for other in others:
        yield other.problem(
            "spec",
            f"the file has {first.id.ref} already",
            "write all rules in one FabricPolicy; their order decides",
        )
    policy, problems = read(first)
    yield from problems
    if problems:
        return
    yield from _unreachable(first, policy)
    yield from _tests(first, policy, known_leaves(facts), own_site(facts))


def known_leaves(facts: FabricFacts | None) -> Leaves:
    """Return the addresses of the admitted leaves by leaf ID."""
    return {} if facts is None else {claim.leaf_id: _of_ipv4(claim) for claim in facts.leaves}


def own_site(facts: FabricFacts | None) -> frozenset[IPv4Network]:
    """Return the addresses of this router's own site."""
    return frozenset() if facts is None else frozenset().union(*map(_of_ipv4, facts.own))


def _of_ipv4(claim: Claim) -> frozenset[IPv4Network]:
    return frozenset(network for network in claim.owned if isinstance(network, IPv4Network))


def _unreachable(resource: Resource[FabricPolicySpec], policy: Policy) -> Iterator[Problem]:
    for rule in policy.rules:
        reachable, earlier = uncovered(policy, rule)
        if not reachable:
            yield resource.problem(
                f"spec.rules[{rule.number - 1}]",
                f"{rule.label} never decides: {' and '.join(earlier)} match all of its packets",
                "move it up, or remove it",
                severity="warning",
            )


def _tests(
    resource: Resource[FabricPolicySpec], policy: Policy, leaves: Leaves, own: frozenset[IPv4Network]
) -> Iterator[Problem]:
    clauses = clauses_of(policy, leaves, own)
    for test in policy.tests:
        outcome = tried(test, clauses)
        path = f"spec.tests[{test.number - 1}]"
        if outcome.holds is None:
            yield resource.problem(
                path,
                f'"{test.text}" is not decided: {outcome.because}, and a leaf is not admitted here',
                "routerd verify decides it when the leaf has joined",
                severity="warning",
            )
        elif not outcome.holds:
            yield resource.problem(
                path, f'"{test.text}" does not hold: {outcome.because}', "change the rule or the test"
            )
