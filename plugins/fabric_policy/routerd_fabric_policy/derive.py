"""From the policy of the file and the facts of the fabric to the content of the tables. Pure."""

from collections.abc import Iterator

from routerd.model.change import DesiredTable
from routerd.model.resource import Condition
from routerd.model.subsystem import Derivation, FabricFacts
from routerd.spi import Resources
from routerd_fabric_policy.check import known_leaves, own_site
from routerd_fabric_policy.expected import entries
from routerd_fabric_policy.policy import Policy
from routerd_fabric_policy.reading import read
from routerd_fabric_policy.ruleset import LINKS, Element, member, outermost, ruleset_of
from routerd_fabric_policy.tables import MEMBER, RULES, Key, Value


def derive(resources: Resources, facts: FabricFacts) -> Derivation:
    """Return the rules, the members of their sets, and the tests; without a policy nothing is wanted."""
    if not resources:
        return Derivation()
    policy, _ = read(resources[0])
    leaves = known_leaves(facts)
    links = sorted({link.link for link in facts.links})
    content: dict[Key, Value] = {RULES: ruleset_of(policy)}
    content |= {Element(set=LINKS, member=link): MEMBER for link in links}
    for name, place in policy.places.items():
        owned = (network for leaf in place.leaves for network in leaves.get(leaf, ()))
        for network in outermost((*place.prefixes, *owned)):
            content[Element(set=name, member=member(network))] = MEMBER
    tests = entries(policy, links, sorted(own_site(facts)))
    return Derivation(
        tables={
            # What an incomplete source lacks stays in the sets: the loop then deletes nothing.
            "rules": DesiredTable(
                values=content, complete=facts.complete, owners=dict.fromkeys(content, policy.ref)
            ),
            "tests": DesiredTable(values=tests, owners=dict.fromkeys(tests, policy.ref)),
        },
        conditions={policy.ref: tuple(_conditions(policy, facts))},
    )


def _conditions(policy: Policy, facts: FabricFacts) -> Iterator[Condition]:
    named = {leaf for place in policy.places.values() for leaf in place.leaves}
    missing = sorted(named - known_leaves(facts).keys())
    if missing:
        yield Condition(
            type="Note",
            status="True",
            reason="LeafNotAdmitted",
            message=f"no address is known of {', '.join(missing)}; this router has admitted no such leaf",
        )
