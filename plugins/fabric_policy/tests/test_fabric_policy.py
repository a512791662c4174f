"""The plugin keeps the contracts of a plugin and of a subsystem, and its own word about files and flows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from routerd.errors import PermanentError
from routerd.model.change import Change
from routerd.model.claim import Claim
from routerd.model.intent import Intent
from routerd.model.names import LinkName, NodeName
from routerd.model.resource import Resource, ResourceId, SourceLocation
from routerd.model.subsystem import FabricFacts, FabricLink, Flow
from routerd.spi import PluginContext, Resources, Subsystem, SubsystemType
from routerd.testing.context import as_read_only, make_context
from routerd.testing.contracts import Foreign, PluginContract, Samples, SubsystemContract, TableRules
from routerd_fabric_policy import plugin
from routerd_fabric_policy.command import verify
from routerd_fabric_policy.derive import derive
from routerd_fabric_policy.kinds import FabricPolicySpec, RuleSpec
from routerd_fabric_policy.live import outcomes
from routerd_fabric_policy.policy import Policy, Rule
from routerd_fabric_policy.reading import read
from routerd_fabric_policy.ruleset import (
    FAMILY,
    LINKS,
    TABLE,
    Chain,
    Element,
    Held,
    Line,
    Ruleset,
    ruleset_of,
)
from routerd_fabric_policy.script import Sets, scripts
from routerd_fabric_policy.subsystem import FabricPolicySubsystem, explain
from routerd_fabric_policy.tables import MEMBER, RULES, RulesTable
from routerd_fabric_policy.verdict import Verdict, verdict

SSH = RuleSpec(
    name="ssh", source=("office", "leaf:aws-leaf"), destination="10.83.10.20", protocol="tcp",
    ports=("22", "8000-8010"), action="accept",
)  # fmt: skip
SPEC = FabricPolicySpec(
    sets={"office": ("10.81.10.0/24",)},
    rules=(SSH, RuleSpec(destination="10.83.0.0/16", protocol="icmp", action="reject")),
    default="drop",
    tests=("10.81.10.20 reaches 10.83.10.20 by tcp/22", "10.99.9.10 does not reach 10.81.10.20"),
)
LEAF = Claim(
    name="a", policy_ref="SAMEnrollmentPolicy/p", leaf_id="aws-leaf", tunnel_address="10.255.0.2",
    owned_addresses=("10.82.0.5/32",),
)  # fmt: skip


def resource(spec: FabricPolicySpec, name: str = "inside") -> Resource[FabricPolicySpec]:
    lines = {f"spec.rules[{at}]": 20 + at for at in range(9)} | {
        f"spec.tests[{at}]": 40 + at for at in range(9)
    }
    return Resource(
        id=ResourceId("policy.routerd.net/v1alpha1", "FabricPolicy", name),
        spec=spec,
        source=SourceLocation("router.yaml", 9, lines),
    )


def fabric(*resources: Resource[FabricPolicySpec], **changes: Any) -> FabricFacts:
    intent = Intent(node=NodeName("rr"), resources=resources)
    return FabricFacts(
        **{"intent": intent, "leaves": (LEAF,), "links": (FabricLink(link=LinkName("t1")),), **changes}
    )


class MemoryFilter:
    """Implements `tables.PacketFilter` in memory."""

    def __init__(self) -> None:
        self.held = Held()

    async def read(self) -> Held:
        return self.held

    async def change(self, held: Held, ruleset: Ruleset | None, sets: Sets) -> None:
        assert held is self.held
        kept = {name: members for name, members in sets.items() if members}
        rules = ruleset or Ruleset()
        self.held = Held(
            exists=bool(ruleset or kept),
            ours=bool(ruleset or kept),
            ruleset=rules,
            sets=kept,
            counters=dict.fromkeys(rules.counters, (3, 180)),
        )


class TestPlugin(PluginContract):
    name: ClassVar[str] = "fabric_policy"


class TestSubsystem(SubsystemContract):
    tables: ClassVar[tuple[TableRules, ...]] = (
        TableRules(attribute="rules", refuses=False),
        TableRules(attribute="tests", refuses=False, foreign=False),
    )

    @pytest.fixture
    def memory(self) -> MemoryFilter:
        return MemoryFilter()

    @pytest.fixture
    def provider(self, memory: MemoryFilter) -> SubsystemType:
        described = plugin.routerd_subsystems()[0]

        def create(context: PluginContext, _: object) -> Subsystem:
            return FabricPolicySubsystem(context, memory)

        return attrs.evolve(described, create=create)

    @pytest.fixture
    def resources(self) -> Resources:
        return [resource(SPEC)]

    @pytest.fixture
    def facts(self, resources: Resources) -> FabricFacts:
        return fabric(*resources)

    @pytest.fixture
    def wrong(self) -> Resources:
        return [resource(attrs.evolve(SPEC, sets={}))]

    @pytest.fixture
    def samples(self, memory: MemoryFilter) -> Mapping[str, Samples[Any, Any]]:
        theirs = Held(exists=True, ruleset=Ruleset(chains=(Chain(name="theirs"),)))
        policy = Policy(ref="x", rules=(Rule(number=1, protocol=1, action="accept"),), default="drop")

        async def place() -> None:
            memory.held = theirs

        async def there() -> object:
            return memory.held

        return {
            "rules": Samples(
                values={
                    RULES: ruleset_of(policy),
                    Element(set=LINKS, member="t1"): MEMBER,
                    Element(set="office_1", member="10.81.10.0/24"): MEMBER,
                },
                replacement={RULES: ruleset_of(attrs.evolve(policy, default="accept"))},
                foreign=Foreign(key=RULES, value=ruleset_of(policy), place=place, read=there),
            ),
            "tests": Samples(
                values={"policy": "FabricPolicy/x", "test 1": "10.0.0.1 reaches 10.0.0.2"},
                replacement={"test 1": "10.0.0.1 does not reach 10.0.0.2"},
            ),
        }


# --- the file --------------------------------------------------------------------------------------


def found(spec: FabricPolicySpec, facts: FabricFacts | None = None, *, severity: str = "error") -> list[str]:
    (described,) = plugin.routerd_subsystems()
    return [
        f"{each.line} {each.path}: {each.message}"
        for each in described.check([resource(spec)], facts)
        if each.severity == severity
    ]


def rules(**changes: object) -> FabricPolicySpec:
    return attrs.evolve(SPEC, rules=(attrs.evolve(SSH, **changes),), tests=())


NOT_22 = "10.81.10.9 does not reach 10.83.10.20 by tcp/22"
BY_TCP = "10.81.10.9 reaches 10.83.10.20 by tcp"
MISTAKES = {
    "an unknown set": (
        rules(source="offices"),
        '20 spec.rules[0].from[0]: "offices" is not a prefix, an address or a set of the file',
    ),
    "an empty list": (rules(destination=()), "20 spec.rules[0].to: the list is empty"),
    "a leaf ID": (rules(source='leaf:a"b'), '20 spec.rules[0].from[0]: "a"b" is not a leaf ID'),
    "no leaf ID": (rules(source="leaf:"), '20 spec.rules[0].from[0]: "" is not a leaf ID'),
    "any and another": (rules(destination=("any", "office")), '20 spec.rules[0].to: "any" has company'),
    "host bits": (
        rules(source="10.81.10.20/24"),
        "20 spec.rules[0].from[0]: 10.81.10.20/24 has host bits set",
    ),
    "IPv6": (
        rules(source="2001:db8::/32"),
        "20 spec.rules[0].from[0]: 2001:db8::/32 is of IPv6, which the fabric does not carry",
    ),
    "a protocol": (rules(protocol="tpc"), '20 spec.rules[0].protocol: "tpc" is not a protocol'),
    "a port without protocol": (rules(protocol=""), "20 spec.rules[0].ports: a port without a protocol"),
    "a port of icmp": (rules(protocol="icmp"), "20 spec.rules[0].ports: icmp has no ports"),
    "a port": (rules(ports="0"), '20 spec.rules[0].ports: "0" is not a port'),
    "a range": (rules(ports="80-22"), '20 spec.rules[0].ports: "80-22" is not a port'),
    "a name": (rules(name="S S H"), '20 spec.rules[0].name: "S S H" cannot be the name of a rule'),
    "a name again": (
        attrs.evolve(SPEC, rules=(SSH, attrs.evolve(SSH, action="drop")), tests=()),
        "21 spec.rules[1].name: rule 1 has this name",
    ),
    "an empty set": (
        attrs.evolve(SPEC, sets={**SPEC.sets, "none": ()}),
        "9 spec.sets.none: the set is empty",
    ),
    "the name of a set": (
        attrs.evolve(SPEC, sets={**SPEC.sets, "any": ("10.0.0.0/8",)}),
        '9 spec.sets.any: "any" cannot be the name of a set',
    ),
    "a set in itself": (
        attrs.evolve(SPEC, sets={**SPEC.sets, "a": ("a",)}),
        "9 spec.sets.a[0]: the set a contains itself",
    ),
    "a test": (attrs.evolve(SPEC, tests=("1 to 2",)), '40 spec.tests[0]: "1 to 2" is not a test'),
    "the port of a test": (
        attrs.evolve(SPEC, tests=("10.0.0.1 reaches 10.0.0.2 by icmp/8",)),
        "40 spec.tests[0]: icmp has no ports",
    ),
    "a test that does not hold": (
        attrs.evolve(SPEC, tests=(SPEC.tests[0], NOT_22)),
        f'41 spec.tests[1]: "{NOT_22}" does not hold: rule 1 (ssh) lets it pass',
    ),
    "a test that holds for a part": (
        attrs.evolve(SPEC, tests=(BY_TCP,)),
        f'40 spec.tests[0]: "{BY_TCP}" does not hold: the default stops some of it',
    ),
}  # fmt: skip


@pytest.mark.parametrize(("spec", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_problem_with_its_line(spec: FabricPolicySpec, message: str) -> None:
    assert found(spec) == [message]


def test_a_second_policy_is_refused() -> None:
    (described,) = plugin.routerd_subsystems()
    (problem,) = described.check([resource(SPEC), resource(SPEC, "other")], None)
    assert problem.resource == "FabricPolicy/other"
    assert problem.message == "the file has FabricPolicy/inside already"


def test_a_rule_that_never_decides_is_a_warning() -> None:
    spec = FabricPolicySpec(
        sets={"office": ("10.81.10.0/24", "leaf:a")},
        rules=(
            RuleSpec(source="10.81.10.0/25", action="accept"),
            RuleSpec(source="10.81.10.128/25", protocol="tcp", action="drop"),
            RuleSpec(source="leaf:a", action="accept"),
            RuleSpec(source="office", protocol="tcp", ports="22", action="drop"),
            RuleSpec(source="office", action="drop"),
        ),
        default="drop",
    )
    assert found(spec) == []
    assert found(spec, severity="warning") == [
        "23 spec.rules[3]: rule 4 never decides: rule 1 and rule 2 and rule 3 match all of its packets"
    ]


def test_a_test_about_a_leaf_is_decided_when_the_leaf_is_admitted() -> None:
    spec = attrs.evolve(SPEC, tests=("10.82.0.5 reaches 10.83.10.20 by tcp/22",))
    undecided = (
        f'40 spec.tests[0]: "{spec.tests[0]}" is not decided: rule 1 (ssh) and the default may decide, '
        "and a leaf is not admitted here"
    )
    for facts in (None, fabric(leaves=())):
        assert found(spec, facts) == []
        assert found(spec, facts, severity="warning") == [undecided]
    assert found(spec, fabric()) == found(spec, fabric(), severity="warning") == []
    other = attrs.evolve(spec, tests=("10.82.0.5 does not reach 10.83.10.20 by tcp/22",))
    (message,) = found(other, fabric())
    assert message.endswith('reach 10.83.10.20 by tcp/22" does not hold: rule 1 (ssh) lets it pass')


def test_a_packet_of_the_own_site_is_not_judged() -> None:
    spec = attrs.evolve(SPEC, tests=("10.82.0.5 does not reach 10.1.0.1",))
    (message,) = found(spec, fabric(leaves=(), own=(LEAF,)))
    assert message.endswith("this router, which judges only packets that arrive by a tunnel, lets it pass")


# --- flows -----------------------------------------------------------------------------------------

ADDRESSES = st.sampled_from(["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.7"])
ITEMS = st.sampled_from(
    ["10.0.0.0/30", "10.0.0.0/31", "10.0.0.2", "10.0.0.4/30", "0.0.0.0/0", "leaf:a", "leaf:b", "leaf:away"]
)
SIDES = st.one_of(st.just("any"), st.lists(ITEMS, min_size=1, max_size=3, unique=True).map(tuple))
OWNED = {
    "a": frozenset({IPv4Network("10.0.0.1")}),
    "b": frozenset({IPv4Network("10.0.0.2"), IPv4Network("10.0.0.7")}),
}


@st.composite
def rule_specs(draw: st.DrawFn) -> RuleSpec:
    protocol = draw(st.sampled_from(["", "tcp", "udp", "icmp"]))
    ports = (
        draw(st.lists(st.sampled_from(["1-3", "2", "3-5", "7"]), max_size=2))
        if protocol in ("tcp", "udp")
        else ()
    )
    return RuleSpec(
        source=draw(SIDES),
        destination=draw(SIDES),
        protocol=protocol,
        ports=tuple(ports),
        action=draw(st.sampled_from(["accept", "drop", "reject"])),
    )


SPECS = st.builds(
    FabricPolicySpec,
    rules=st.lists(rule_specs(), max_size=5).map(tuple),
    default=st.sampled_from(["accept", "drop"]),
)
FLOWS = st.builds(
    lambda source, destination, protocol, port: Flow(
        source=IPv4Network(source),
        destination=IPv4Network(destination),
        protocol=protocol,
        port=port if protocol in ("tcp", "udp") else 0,
    ),
    ADDRESSES,
    ADDRESSES,
    st.sampled_from(["tcp", "udp", "icmp", "gre"]),
    st.integers(1, 8),
)


def by_hand(spec: FabricPolicySpec, leaves: Mapping[str, frozenset[IPv4Network]], flow: Flow) -> bool:
    """Say whether a flow passes, by the words of the documentation and without a box."""

    def on(side: object, network: object) -> bool:
        items = (side,) if isinstance(side, str) else side
        assert isinstance(items, tuple)
        for item in items:
            places = (
                leaves[item[5:]]
                if item.startswith("leaf:")
                else {IPv4Network(item)}
                if item != "any"
                else None
            )
            if places is None or any(network.subnet_of(place) for place in places):  # type: ignore[attr-defined]
                return True
        return False

    for rule in spec.rules:
        ranges = [text.partition("-") for text in rule.ports]
        if (
            on(rule.source, flow.source)
            and on(rule.destination, flow.destination)
            and rule.protocol in ("", flow.protocol)
            and (not ranges or any(int(low) <= flow.port <= int(high or low) for low, _, high in ranges))
        ):
            return rule.action == "accept"
    return spec.default == "accept"


@given(SPECS, FLOWS)
def test_the_first_rule_that_matches_decides(spec: FabricPolicySpec, flow: Flow) -> None:
    policy, problems = read(resource(spec))
    assert problems == []
    leaves = {**OWNED, "away": frozenset[IPv4Network]()}
    expected = "passes" if by_hand(spec, leaves, flow) else "stopped"
    assert verdict(policy, leaves, flow).answer == expected


@given(SPECS, FLOWS, st.sampled_from([None, "10.0.0.0/29", "10.0.0.0/30"]))
def test_an_answer_about_many_flows_holds_for_each(
    spec: FabricPolicySpec, flow: Flow, wide: str | None
) -> None:
    policy, _ = read(resource(spec))
    leaves = {**OWNED, "away": frozenset[IPv4Network]()}
    source = IPv4Network(wide) if wide else flow.source
    many = attrs.evolve(flow, source=source, port=0)
    answers = {
        by_hand(spec, leaves, attrs.evolve(flow, source=IPv4Network(each), port=port))
        for each in source
        for port in (range(1, 9) if flow.protocol in ("tcp", "udp") else (0,))
    }
    expected = {frozenset({True}): "passes", frozenset({False}): "stopped"}.get(frozenset(answers), "mixed")
    assert verdict(policy, leaves, many).answer == expected


@given(SPECS, FLOWS, st.frozensets(ADDRESSES, max_size=3))
def test_what_is_decided_without_a_leaf_holds_whatever_it_owns(
    spec: FabricPolicySpec, flow: Flow, owned: frozenset[str]
) -> None:
    policy, _ = read(resource(spec))
    leaves = {**OWNED, "away": frozenset(map(IPv4Network, owned))}
    early = verdict(policy, OWNED, flow).answer
    assert early in ("unknown", verdict(policy, leaves, flow).answer)


def test_explain_names_the_rule() -> None:
    def steps(source: str, **flow: Any) -> list[tuple[str, str]]:
        asked = Flow(source=IPv4Network(source), destination=IPv4Network("10.83.10.20"), **flow)
        return [(step.state, step.text) for step in explain(asked, [resource(SPEC)], fabric())]

    assert steps("10.81.10.9", protocol="tcp", port=22) == [
        ("ok", "rule 1 (ssh) of FabricPolicy/inside lets it pass")
    ]
    assert steps("10.82.0.5", protocol="6", port=8001) == [
        ("ok", "rule 1 (ssh) of FabricPolicy/inside lets it pass")
    ]
    assert steps("10.9.9.9", protocol="icmp") == [("bad", "rule 2 of FabricPolicy/inside stops it")]
    ((state, text),) = steps("10.81.10.9")
    assert state == "note"
    assert "rule 1 (ssh) of FabricPolicy/inside lets some of it pass" in text
    assert (
        explain(Flow(source=IPv4Network("10.0.0.1"), destination=IPv4Network("10.0.0.2")), [], fabric()) == ()
    )


def test_an_unknown_protocol_of_a_question_is_a_step_and_no_crash() -> None:
    asked = Flow(source=IPv4Network("10.0.0.1"), destination=IPv4Network("10.0.0.2"), protocol="bogus")
    ((step,)) = explain(asked, [resource(SPEC)], fabric())
    assert (step.state, step.text) == ("note", '"bogus" is not a protocol')


# --- tables ----------------------------------------------------------------------------------------


def test_a_leaf_that_joins_adds_members_and_changes_no_rule() -> None:
    before = derive([resource(SPEC)], fabric(leaves=())).tables["rules"].values
    after = derive([resource(SPEC)], fabric()).tables["rules"].values
    assert before[RULES] == after[RULES]
    assert [key.member for key in after if key not in before] == ["10.82.0.5"]


def test_an_edit_of_a_set_makes_another_set() -> None:
    other = attrs.evolve(SPEC, sets={"office": ("10.81.11.0/24",)})
    names = [
        {
            key.set
            for key in derive([resource(spec)], fabric()).tables["rules"].values
            if isinstance(key, Element)
        }
        for spec in (SPEC, other)
    ]
    assert LINKS in names[0] & names[1]
    assert sorted(name.partition("_")[0] for name in names[0] - names[1]) == ["list"]


def test_a_leaf_that_is_not_admitted_is_a_note() -> None:
    (condition,) = derive([resource(SPEC)], fabric(leaves=())).conditions["FabricPolicy/inside"]
    assert (condition.type, condition.status) == ("Note", "True")
    assert condition.message == "no address is known of aws-leaf; this router has admitted no such leaf"


def test_nothing_to_change_runs_nothing() -> None:
    wanted = ruleset_of(read(resource(SPEC))[0])
    sets = {LINKS: frozenset({"t1"}), **{name: frozenset({"10.0.0.1"}) for name in wanted.sets}}
    held = Held(
        exists=True, ours=True, ruleset=wanted, sets=sets, counters=dict.fromkeys(wanted.counters, (0, 0))
    )
    assert scripts(held, wanted, sets) == []
    assert scripts(Held(), None, {}) == []
    assert scripts(held, None, {}) == [f"delete table {FAMILY} {TABLE}\n"]


def test_rules_come_after_the_members_of_many_sets() -> None:
    many = frozenset(f"10.0.{at // 250}.{at % 250}" for at in range(3000))
    wanted = Ruleset(chains=(Chain(name="judge", lines=(Line(source=("@office_1",), verdict="accept"),)),))
    assert len(scripts(Held(), wanted, {"office_1": frozenset({"10.0.0.1", "10.0.0.2"})})) == 1
    *fills, last = scripts(Held(), wanted, {"office_1": many})
    assert fills
    assert not any("add rule" in text for text in fills)
    assert last.rstrip().endswith("ip saddr @office_1 accept")


async def test_a_dry_run_writes_no_tests(tmp_path: Path) -> None:
    made = FabricPolicySubsystem(as_read_only(make_context(tmp_path)), MemoryFilter())
    failures = await made.tests.apply([Change(key="policy", before=None, after="FabricPolicy/x")])
    assert isinstance(failures["policy"], PermanentError)
    assert await made.tests.observe() == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"policy": 1}'])
async def test_a_damaged_file_of_tests_is_written_again(tmp_path: Path, text: str) -> None:
    context = make_context(tmp_path)
    (context.state_dir / "tests.json").write_text(text)
    made = FabricPolicySubsystem(context, MemoryFilter())
    assert await made.tests.observe() == {}
    assert await made.tests.apply([Change(key="policy", before=None, after="FabricPolicy/x")]) == {}
    assert await made.tests.observe() == {"policy": "FabricPolicy/x"}


async def test_the_states_are_those_of_the_rules_that_are_there(tmp_path: Path) -> None:
    memory = MemoryFilter()
    made = FabricPolicySubsystem(make_context(tmp_path), memory)
    table: RulesTable = made.rules
    desired = derive([resource(SPEC)], fabric()).tables["rules"].values
    assert (
        await table.apply([Change(key=key, before=None, after=value) for key, value in desired.items()]) == {}
    )
    states = await made.states()
    assert [(each.name, each.text) for each in states] == [
        ("replies", "accept"),
        ("rule 1 (ssh)", "accept office, leaf:aws-leaf to 10.83.10.20 by tcp/22,8000-8010"),
        ("rule 2", "reject any to 10.83.0.0/16 by icmp"),
        ("the default", "drop"),
    ]
    assert all(each.counters == {"packets": 3, "bytes": 180} for each in states)


@pytest.mark.parametrize(
    ("links", "results"), [((), [True, True]), (("t1",), [True, True]), (("t2",), [True, False])]
)
async def test_what_the_kernel_holds_is_tried_for_each_link(
    tmp_path: Path, links: tuple[str, ...], results: list[bool]
) -> None:
    memory = MemoryFilter()
    made = FabricPolicySubsystem(make_context(tmp_path), memory)
    wanted = derive([resource(SPEC)], fabric()).tables
    await made.rules.apply(
        [Change(key=key, before=None, after=value) for key, value in wanted["rules"].values.items()]
    )
    await made.tests.apply(
        [Change(key=key, before=None, after=value) for key, value in wanted["tests"].values.items()]
    )
    expected = made.tests.expected()
    assert expected is not None
    assert (expected.ref, expected.links, len(expected.tests)) == ("FabricPolicy/inside", ("t1",), 2)
    found = outcomes(memory.held, attrs.evolve(expected, links=links))
    assert [each.holds for each in found] == results
    assert outcomes(Held(), expected)[1].because == "the kernel, which judges no packet of t1, lets it pass"


# --- the command -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("results", "status"),
    [(("holds", "holds"), 0), (("holds", "fails"), 1), (("unknown", "holds"), 1), ((), 0)],
)
def test_verify_ends_by_what_the_daemon_answers(
    monkeypatch: pytest.MonkeyPatch, results: tuple[str, ...], status: int
) -> None:
    tests = [
        {"test": f"10.0.0.{at} reaches 10.0.0.9", "result": result, "because": "so it is"}
        for at, result in enumerate(results)
    ]
    answer = {"policy": "FabricPolicy/inside", "passed": set(results) <= {"holds"}, "tests": tests}
    monkeypatch.setattr("routerd.cli.for_plugins.request", lambda *_, **__: answer)
    table = CliRunner().invoke(verify, [])
    assert table.exit_code == status, table.output
    assert table.output.count("so it is") == len(results)
    document = CliRunner().invoke(verify, ["-o", "json"])
    assert document.exit_code == status
    assert json.loads(document.stdout) == answer


def test_a_verdict_names_everything_that_may_decide() -> None:
    assert Verdict(passing=("a",), stopping=("b",)).answer == "mixed"
    assert Verdict(passing=("a",), unclear=("b",)).answer == "unknown"
