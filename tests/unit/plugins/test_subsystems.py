"""A subsystem as the core asks it: its answers are checked, and what is wrong stays with its own tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
from tests.unit.plugins.plugin_world import World
from tests.unit.plugins.test_plugin_contract import plugin
from tests.unit.reconcile.test_derive import MODES, NOW, admitted, intent

from routerd.errors import ConfigError, NotOwnedError, TransientError
from routerd.model.change import Change, DesiredTable
from routerd.model.claim import prefix
from routerd.model.intent import Intent
from routerd.model.names import NodeName
from routerd.model.report.explanation import Step
from routerd.model.resource import Condition, Resource, ResourceId, ResourceKind
from routerd.model.subsystem import Derivation, FabricFacts, Flow
from routerd.plugins.check import prepare
from routerd.plugins.subsystems import MadeSubsystem
from routerd.reconcile.derive import Inputs, derive, fabric_facts
from routerd.reconcile.order import ordered, rank
from routerd.spi import SubsystemTable, SubsystemType
from routerd.testing.context import RecordingLogger


@attrs.frozen
class Thing:
    """The spec of the kind `Thing`."""

    size: int = 0


KIND = ResourceKind(api_version="x.example/v1", kind="Thing", spec=Thing, teardown="the thing")
FLOW = Flow(source=prefix("10.1.0.1"), destination=prefix("10.2.0.0/16"), protocol="tcp", port=22)


class Part:
    """A subsystem whose functions answer with `answer`, or raise it; it counts the questions."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.seen: list[tuple[Any, FabricFacts]] = []
        self.log = RecordingLogger()
        described = SubsystemType(
            kind="odd",
            create=lambda *_: None,  # type: ignore[arg-type,return-value]
            kinds=(KIND,),
            tables=(SubsystemTable(name="one", after="routes"), SubsystemTable(name="two", after="firewall")),
            derive=self._answer,
            explain=lambda _, resources, facts: self._answer(resources, facts),
        )
        self.made = MadeSubsystem(plugin="p", described=described, provider=None, log=self.log)  # type: ignore[arg-type]

    def _answer(self, resources: Any, facts: FabricFacts) -> Any:
        self.seen.append((resources, facts))
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def thing(name: str, *, kind: str = "Thing", api: str = "x.example/v1") -> Resource[object]:
    return Resource(id=ResourceId(api, kind, name), spec=Thing())


def facts(*resources: Resource[object]) -> FabricFacts:
    return FabricFacts(intent=Intent(node=NodeName("n"), resources=resources))


def test_derive_gets_the_resources_of_its_kinds_and_every_table_has_a_content() -> None:
    part = Part(Derivation(tables={"one": DesiredTable(values={"k": 1})}))
    known = facts(thing("b"), thing("x", kind="Other"), thing("y", api="y.example/v1"), thing("a"))
    found = part.made.derive(known)
    assert {name: dict(table.values) for name, table in found.tables.items()} == {
        "odd/one": {"k": 1},
        "odd/two": {},
    }
    ((resources, given),) = part.seen
    assert [each.name for each in resources] == ["b", "a"]
    assert given is known


def test_the_same_facts_are_asked_once_and_new_ones_again() -> None:
    part = Part(Derivation())
    known = facts(thing("a"))
    part.made.derive(known)
    part.made.derive(attrs.evolve(known))
    assert len(part.seen) == 1
    part.made.derive(attrs.evolve(known, complete=False))
    assert len(part.seen) == 2
    part.made.derive(facts(thing("a")))  # a reload
    assert len(part.seen) == 3


class _Listed(dict[Any, Any]):
    """A mapping that has a key that cannot be one."""

    def __iter__(self) -> Any:
        return iter([[]])


WRONG: Sequence[tuple[Any, str]] = (
    (RuntimeError("no"), "RuntimeError('no')"),
    (SystemExit(3), "SystemExit(3)"),
    (None, "it returned a NoneType, not a Derivation"),
    (Derivation(tables={"three": DesiredTable()}), "three, which its description does not list"),
    (Derivation(tables={"one": {}}), "a dict in one, not a DesiredTable"),  # type: ignore[dict-item]
    (Derivation(tables={"one": DesiredTable(values=_Listed())}), "unhashable type: 'list'"),
    (Derivation(conditions={1: ()}), "conditions of 1"),  # type: ignore[dict-item]
    (Derivation(conditions={"Thing/a": (1,)}), "it returned a int among its Conditions"),  # type: ignore[dict-item]
)


@pytest.mark.parametrize(("answer", "words"), WRONG)
def test_a_derive_without_an_answer_leaves_its_tables_and_names_the_plugin(answer: Any, words: str) -> None:
    part = Part(answer)
    inputs = Inputs(modes=MODES, intent=intent("fullmesh-rr.yaml"), now=NOW, subsystems={"odd": part.made})
    desired = derive(inputs)
    for name in ("odd/one", "odd/two"):
        assert desired.table(name) == DesiredTable(complete=False)
    ((condition,),) = (found for ref, found in desired.conditions.items() if "odd" in ref)
    assert condition.status == "False"
    assert words in condition.message
    assert "subsystem odd (plugin p)" in desired.conditions
    # The tables of others are what they are without it.
    alone = derive(attrs.evolve(inputs, subsystems={}))
    assert {name: desired.tables[name] for name in alone.tables} == alone.tables


def test_a_failure_of_its_own_words_is_passed_on() -> None:
    with pytest.raises(TransientError, match="later"):
        Part(TransientError("later")).made.derive(facts())
    with pytest.raises(NotOwnedError, match="theirs"):
        Part(NotOwnedError("theirs")).made.derive(facts())


def test_the_facts_are_those_of_the_fabric() -> None:
    at_reflector = intent("fullmesh-rr.yaml")
    inputs = Inputs(modes=MODES, intent=at_reflector, now=NOW, claims=(admitted(),))
    known = fabric_facts(inputs)
    assert [claim.leaf_id for claim in known.leaves] == [admitted().claim.leaf_id]
    (link,) = [each for each in known.links if each.leaf == admitted().claim.leaf_id]
    assert link.local is not None
    assert link.neighbour is not None
    assert link.peer == ""
    assert known.intent is at_reflector
    assert known.own == ()
    assert not fabric_facts(attrs.evolve(inputs, claims=())).leaves
    at_leaf = Inputs(modes=MODES, intent=intent("fullmesh-leaf-aws.yaml"), now=NOW)
    assert not fabric_facts(at_leaf).complete  # its reflectors are not known yet


def test_conditions_of_a_subsystem_are_those_of_its_resource() -> None:
    note = Condition(type="Note", status="True", message="large")
    part = Part(Derivation(conditions={"Thing/a": (note,)}))
    inputs = Inputs(modes=MODES, intent=intent("fullmesh-rr.yaml"), now=NOW, subsystems={"odd": part.made})
    assert derive(inputs).conditions["Thing/a"] == (note,)


def test_explain_is_the_steps_of_the_plugin_or_a_step_that_it_has_none() -> None:
    step = Step("odd", "bad", "rule 1 drops it", "rule 1 drops it")
    assert Part([step]).made.explain(FLOW, facts()) == (step,)
    for answer in (RuntimeError("no"), [1], None):
        (found,) = Part(answer).made.explain(FLOW, facts())
        assert (found.state, found.blame) == ("note", "")
        assert "plugin p" in found.text
    assert str(FLOW) == "10.1.0.1 to 10.2.0.0/16 by tcp/22"


def test_a_table_of_a_subsystem_comes_right_after_the_rank_that_it_names() -> None:
    roles = {"routes": "routes", "odd/one": "routes+", "bgp/speakers": "speakers", "addresses": "addresses"}
    assert sorted(roles, key=lambda name: rank(roles[name])) == [
        "addresses",
        "routes",
        "odd/one",
        "bgp/speakers",
    ]
    made: Any = {name: [Change(key=1, before=None, after=1)] for name in roles}
    gone: Any = {name: [Change(key=1, before=1, after=None)] for name in roles}
    order = ["addresses", "routes", "odd/one", "bgp/speakers"]
    assert [step.table for step in ordered(made, roles)] == order
    assert [step.table for step in ordered(gone, roles)] == order[::-1]


CHECKING = """
from routerd.spi import SubsystemType
from routerd.model.subsystem import Derivation
def check(resources, facts):
    for each in resources:
        {body}
@routerd.hookimpl
def routerd_subsystems():
    kind = ResourceKind(api_version="x.example/v1", kind="Thing", spec=Spec, teardown="the thing")
    made_of = {"create": made, "derive": lambda r, f: Derivation(), "check": check}
    return [SubsystemType(kind="odd", kinds=(kind,), **made_of)]
"""
FILE = """\
apiVersion: routerd.net/v1alpha1
kind: Router
metadata: {name: n}
plugins: [p]
spec:
  resources:
    - apiVersion: x.example/v1
      kind: Thing
      metadata: {name: t}
      spec:
        size: 3
"""


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('yield each.problem("spec.size", f"{each.spec.size} is odd", "write 4")',
         "r.yaml:11: Thing/t spec.size: 3 is odd; write 4"),
        ('raise KeyError("x")', "plugin p: subsystem odd: `check` failed: KeyError('x')"),
        ("yield 7", "plugin p: subsystem odd: `check` yielded 7, not a Problem"),
        ("import sys; sys.exit(3)", "`check` failed: SystemExit(3)"),
    ],
)  # fmt: skip
def test_what_check_finds_is_a_problem_with_file_and_line(
    install: World, tmp_path: Path, body: str, words: str
) -> None:
    install("p", plugin("p") + CHECKING.replace("{body}", body))
    file = tmp_path / "r.yaml"
    file.write_text(FILE)
    with pytest.raises(ConfigError) as caught:
        prepare(file)
    (problem,) = caught.value.problems
    assert words in str(problem)


def test_a_warning_of_check_refuses_nothing(install: World, tmp_path: Path) -> None:
    body = 'yield each.problem("spec.size", "is large", severity="warning")'
    install("p", plugin("p") + CHECKING.replace("{body}", body))
    file = tmp_path / "r.yaml"
    file.write_text(FILE)
    (warning,) = prepare(file).configuration.warnings
    assert (warning.line, warning.message) == (11, "is large")
