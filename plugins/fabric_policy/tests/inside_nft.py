"""The rules in a real kernel. Not collected: `test_fabric_policy_kernel.py` runs it in a namespace."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import ClassVar

import attrs
import pytest

from routerd.errors import NotOwnedError, PermanentError
from routerd.model.change import Change
from routerd.testing.context import as_read_only, make_context
from routerd.testing.contracts import Foreign, Samples, TableContract, TableRules
from routerd_fabric_policy.policy import Place, Policy, Rule
from routerd_fabric_policy.program import Nft
from routerd_fabric_policy.ruleset import LINKS, Element, ruleset_of
from routerd_fabric_policy.subsystem import FabricPolicySubsystem
from routerd_fabric_policy.tables import MEMBER, RULES, Key, RulesTable, Value

OFFICE = Place(name="office", prefixes=frozenset({IPv4Network("10.81.10.0/24")}))
ONE = Place(name="10.83.10.20", prefixes=frozenset({IPv4Network("10.83.10.20")}), leaves=frozenset({"x"}))
POLICY = Policy(
    ref="FabricPolicy/inside",
    rules=(
        Rule(
            number=1, name="ssh", source=OFFICE, destination=ONE, protocol=6,
            ports=((22, 22), (8000, 8010)), action="accept",
        ),
        Rule(number=2, source=OFFICE, protocol=17, ports=((53, 53),), action="reject"),
        Rule(number=3, destination=ONE, protocol=1, action="drop"),
        Rule(number=4, protocol=132, ports=((7, 9),), action="accept"),
        Rule(number=5, protocol=47, action="accept"),
        Rule(number=6, protocol=253, action="accept"),
    ),
    default="drop",
)  # fmt: skip
OPEN = attrs.evolve(POLICY, rules=POLICY.rules[1:], default="accept")


def shell(command: str) -> str:
    done = subprocess.run(["sh", "-ec", command], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    """Give each test a kernel without rules."""
    shell("nft flush ruleset")
    yield
    shell("nft flush ruleset")


def content(
    policy: Policy, *, links: tuple[str, ...] = ("wg0", "tun-1.2"), extra: tuple[str, ...] = ()
) -> dict[Key, Value]:
    found: dict[Key, Value] = {RULES: ruleset_of(policy)}
    found |= {Element(set=LINKS, member=link): MEMBER for link in links}
    for name, place in policy.places.items():
        for network in place.prefixes:
            text = str(network).removesuffix("/32")
            found[Element(set=name, member=text)] = MEMBER
    found |= {Element(set=ONE.set_name, member=each): MEMBER for each in extra}
    return found


@pytest.fixture
def table(tmp_path: Path) -> RulesTable:
    return FabricPolicySubsystem(make_context(tmp_path)).rules


async def change(table: RulesTable, wanted: Mapping[Key, Value]) -> None:
    """Change the table as the loop does: creations and replacements, then deletions."""
    observed = await table.observe()
    first = [
        Change(key=key, before=observed.get(key), after=value)
        for key, value in wanted.items()
        if observed.get(key) != value
    ]
    assert await table.apply(first) == {}
    last = [Change(key=key, before=value, after=None) for key, value in observed.items() if key not in wanted]
    assert await table.apply(last) == {}


async def become(table: RulesTable, wanted: Mapping[Key, Value]) -> None:
    """Change the table and see that it is what it should be."""
    await change(table, wanted)
    assert await table.observe() == wanted


class TestRulesContract(TableContract):
    tables: ClassVar[tuple[TableRules, ...]] = (TableRules(attribute="rules", refuses=False),)

    @pytest.fixture
    def table(self, tmp_path: Path) -> RulesTable:
        return FabricPolicySubsystem(make_context(tmp_path)).rules

    @pytest.fixture
    def samples(self) -> Samples[Key, Value]:
        async def place() -> None:
            shell("nft delete table inet routerd_policy 2>/dev/null || true")
            shell("nft add table inet routerd_policy; nft add chain inet routerd_policy theirs")

        async def read() -> object:
            return shell("nft list table inet routerd_policy")

        return Samples(
            values=content(POLICY),
            replacement={RULES: ruleset_of(OPEN)},
            foreign=Foreign(key=RULES, value=ruleset_of(POLICY), place=place, read=read),
        )


async def test_every_kind_of_rule_is_read_as_it_was_written(table: RulesTable) -> None:
    for policy in (POLICY, OPEN, Policy(ref="x", default="accept"), POLICY):
        await become(table, content(policy))


async def test_a_flushed_ruleset_is_seen_and_made_again(table: RulesTable) -> None:
    await become(table, content(POLICY))
    shell("nft flush ruleset")
    assert await table.observe() == {}
    await become(table, content(POLICY))


OURS = "inet routerd_policy"
FOREIGN_CHANGES = {
    "a flushed table": f"nft flush table {OURS}",
    "a flushed chain": f"nft flush chain {OURS} judge",
    "the way to the rules": f"nft flush chain {OURS} forward",
    "another rule": f"nft insert rule {OURS} judge ip saddr 10.81.10.7 accept",
    "a rule of many words": f"nft insert rule {OURS} forward meta mark 7 limit rate 1/second accept",
    "another chain": f"nft add chain {OURS} more '{{ type filter hook forward priority 5; policy drop; }}'",
    "a chain in between": f"nft add chain {OURS} more; nft insert rule {OURS} judge jump more",
    "another hook": (
        f"nft flush chain {OURS} forward; nft delete chain {OURS} forward;"
        f"nft add chain {OURS} forward '{{ type filter hook input priority 0; }}'"
    ),
    "another policy": f"nft add chain {OURS} forward '{{ policy drop; }}'",
    "another set": f"nft add set {OURS} more '{{ type ether_addr; }}'",
    "a map": f"nft add map {OURS} more '{{ type ipv4_addr : verdict; }}'",
    "members that came": f"nft add element {OURS} {ONE.set_name} {{ 10.1.0.0/16, 10.2.0.0-10.2.0.9 }}",
    "a member that went": f"nft delete element {OURS} links {{ wg0 }}",
    "a mark with rules": f"nft add rule {OURS} owner-routerd drop",
}


@pytest.mark.parametrize("command", FOREIGN_CHANGES.values(), ids=FOREIGN_CHANGES)
async def test_a_foreign_change_is_seen_and_undone_and_the_counters_go_on(
    table: RulesTable, command: str
) -> None:
    wanted = content(POLICY)
    await become(table, wanted)
    shell(f"nft flush chain {OURS} judge; nft delete counter {OURS} rule_ssh")
    shell(f"nft add counter {OURS} rule_ssh '{{ packets 41 bytes 99; }}'")
    await become(table, wanted)
    shell(command)
    assert await table.observe() != wanted
    await become(table, wanted)
    assert (await Nft().read()).counters["rule_ssh"] == (41, 99)


async def test_an_admission_changes_members_and_no_rule(table: RulesTable) -> None:
    await become(table, content(POLICY))
    rules = shell("nft -a list chain inet routerd_policy judge")
    await become(table, content(POLICY, extra=("10.9.0.1", "10.9.0.2")))
    await become(table, content(POLICY, extra=("10.9.0.2",), links=("wg0", "another")))
    assert shell("nft -a list chain inet routerd_policy judge") == rules


async def test_a_wider_prefix_takes_the_place_of_the_narrower_one(table: RulesTable) -> None:
    await become(table, content(POLICY, extra=("10.9.0.1", "10.9.0.2")))
    await become(table, content(POLICY, extra=("10.9.0.0/24",)))


async def test_narrower_prefixes_are_there_after_a_second_pass(table: RulesTable) -> None:
    await become(table, content(POLICY, extra=("10.9.0.0/24",)))
    wanted = content(POLICY, extra=("10.9.0.0/25", "10.9.0.128/25"))
    await change(table, wanted)
    await become(table, wanted)


async def test_many_members_are_written_at_once(table: RulesTable) -> None:
    many = tuple(f"10.{at // 256}.{at % 256}.{low}" for at in range(2500) for low in (1, 2))
    await become(table, content(POLICY, extra=many))
    await become(table, content(POLICY, extra=many[:4000]))


async def test_a_transaction_that_the_kernel_refuses_changes_nothing(table: RulesTable) -> None:
    await become(table, content(POLICY))
    before = shell("nft list ruleset")
    bad = Element(set=LINKS, member="a-name-of-more-than-fifteen-bytes")
    good = Element(set=ONE.set_name, member="10.7.0.1")
    failures = await table.apply([Change(key=key, before=None, after=MEMBER) for key in (good, bad)])
    assert set(failures) == {good, bad}
    assert isinstance(failures[good], PermanentError)
    assert shell("nft list ruleset") == before


async def test_a_table_of_that_name_without_our_mark_is_left_alone(table: RulesTable) -> None:
    shell("nft add table inet routerd_policy; nft add chain inet routerd_policy judge")
    before = shell("nft list ruleset")
    assert await table.observe() == {}
    wanted = content(POLICY)
    failures = await table.apply([Change(key=key, before=None, after=value) for key, value in wanted.items()])
    assert set(failures) == set(wanted)
    assert all(isinstance(error, NotOwnedError) for error in failures.values())
    assert await table.apply([Change(key=RULES, before=wanted[RULES], after=None)]) == {}
    assert shell("nft list ruleset") == before


async def test_nothing_of_ours_is_left_when_nothing_is_wanted(table: RulesTable) -> None:
    shell("nft add table inet theirs")
    before = shell("nft list ruleset")
    await become(table, content(POLICY))
    await become(table, {})
    assert shell("nft list ruleset") == before


async def test_a_table_of_ours_that_was_emptied_goes_with_nothing_to_change(table: RulesTable) -> None:
    shell("nft add table inet routerd_policy; nft add chain inet routerd_policy owner-routerd")
    assert await table.observe() == {}
    assert await table.apply([]) == {}
    assert shell("nft list tables") == ""


async def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    table = FabricPolicySubsystem(as_read_only(make_context(tmp_path))).rules
    failures = await table.apply([Change(key=RULES, before=None, after=ruleset_of(POLICY))])
    assert isinstance(failures[RULES], PermanentError)
    assert shell("nft list ruleset") == ""


async def test_the_status_has_a_line_for_each_rule_with_its_counters(tmp_path: Path) -> None:
    subsystem = FabricPolicySubsystem(make_context(tmp_path))
    assert await subsystem.states() == ()
    await become(subsystem.rules, content(POLICY))
    states = await subsystem.states()
    assert [(each.name, each.text) for each in states] == [
        ("replies", "accept"),
        ("rule 1 (ssh)", "accept office to 10.83.10.20 by tcp/22,8000-8010"),
        ("rule 2", "reject office to any by udp/53"),
        ("rule 3", "drop any to 10.83.10.20 by icmp"),
        ("rule 4", "accept any to any by sctp/7-9"),
        ("rule 5", "accept any to any by gre"),
        ("rule 6", "accept any to any by 253"),
        ("the default", "drop"),
    ]
    assert all(each.counters == {"packets": 0, "bytes": 0} for each in states)
    shell("nft flush ruleset; nft add table inet routerd_policy")
    assert "not ours" in (await subsystem.states())[0].text
