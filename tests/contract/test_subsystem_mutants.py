"""The suite of subsystems is sharp: for each rule, a subsystem that breaks it is caught by that rule."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from routerd.errors import PermanentError, Problem
from routerd.model.change import DesiredTable
from routerd.model.claim import Claim
from routerd.model.intent import Intent
from routerd.model.names import NodeName
from routerd.model.report.explanation import Step
from routerd.model.resource import Resource, ResourceId, ResourceKind, SourceLocation
from routerd.model.subsystem import Derivation, FabricFacts, Flow, SubsystemState
from routerd.spi import ControlRoute, PluginContext, Resources, SubsystemTable, SubsystemType
from routerd.testing.context import make_context
from routerd.testing.contracts import SubsystemContract, TableRules
from routerd.testing.tables import FakeTable

KIND = ResourceKind(api_version="x.example/v1", kind="Thing", spec=str, teardown="the thing")
RULES = TableRules(attribute="things", foreign=False, refuses=False)
LEAF = Claim(name="a", policy_ref="p", leaf_id="leaf-a", tunnel_address="10.255.0.2")


def resource(spec: str, name: str = "t") -> Resource[object]:
    return Resource(
        id=ResourceId("x.example/v1", "Thing", name), spec=spec, source=SourceLocation("router.yaml", 7)
    )


def derive(resources: Resources, facts: FabricFacts) -> Derivation:
    """Want each thing, and each leaf of it."""
    values = {each.spec: "here" for each in resources}
    values |= {f"{each.spec} {claim.leaf_id}": "there" for each in resources for claim in facts.leaves}
    owners = {key: f"Thing/{each.name}" for each in resources for key in values if key.startswith(each.spec)}
    complete = facts.complete or not resources
    return Derivation(tables={"things": DesiredTable(values=values, owners=owners, complete=complete)})


def check(resources: Resources, facts: FabricFacts | None) -> Sequence[Problem]:
    return [each.problem("spec", "has no letters") for each in resources if not each.spec.isalpha()]


def explain(flow: Flow, resources: Resources, facts: FabricFacts) -> Sequence[Step]:
    return [Step("odd", "ok", f"{flow} meets {len(resources)} things")]


async def lookup(_: Mapping[str, Any]) -> Any:
    return {}


class Proper:
    """A subsystem that keeps every rule; the mutants below break one each."""

    def __init__(self, context: PluginContext, world: dict[str, str]) -> None:
        self.things = FakeTable[str, str]()
        self.things.content = world

    async def start(self) -> None: ...

    async def aclose(self) -> None: ...

    async def states(self) -> Sequence[Any]:
        return [SubsystemState(name="things", text="well", counters={"packets": 3})]

    def control_routes(self) -> Sequence[Any]:
        return [ControlRoute(method="GET", path="lookup", handler=lookup)]


def described(create: Callable[[PluginContext, Any], Any], **more: Any) -> SubsystemType:
    functions: dict[str, Any] = {"derive": derive, "check": check, "explain": explain}
    return SubsystemType(
        **{
            "kind": "odd",
            "create": create,
            "kinds": (KIND,),
            "tables": (SubsystemTable(name="things", after="routes"),),
            **functions,
            **more,
        }
    )


def own_rules() -> Mapping[str, Any]:
    """Return the rules that the suite adds to those of every provider with tables."""
    suite = SubsystemContract()
    return {name: getattr(suite, name) for name in vars(SubsystemContract) if name.startswith("test_")}


async def broken(made: type[Any], root: Path, **more: Any) -> set[str]:
    """Return the names of the rules that a subsystem breaks."""
    found = set()
    SubsystemContract.tables, before = (RULES,), SubsystemContract.tables
    try:
        for number, (name, rule) in enumerate(own_rules().items()):
            place = root / str(number)
            place.mkdir()
            world: dict[str, str] = {}
            resources = [resource("box"), resource("bag", "u")]
            values = {
                "provider": described(lambda context, _, world=world: made(context, world), **more),
                "context": make_context(place),
                "options": described(made).options(),
                "resources": resources,
                "facts": FabricFacts(
                    intent=Intent(node=NodeName("n"), resources=tuple(resources)), leaves=(LEAF,)
                ),
                "wrong": [resource("12")],
            }
            try:
                done = rule(**{each: values[each] for each in inspect.signature(rule).parameters})
                if inspect.isawaitable(done):
                    await done
            except asyncio.CancelledError:
                raise
            except BaseException:  # noqa: BLE001 - pytest's failures are not exceptions to others
                found.add(name.removeprefix("test_"))
    finally:
        SubsystemContract.tables = before
    return found


# --- the mutants -------------------------------------------------------------------------------------

TURN = itertools.count()


class _NoTable(Proper):
    def __init__(self, context: PluginContext, world: dict[str, str]) -> None:
        super().__init__(context, world)
        self.things = SimpleNamespace()  # type: ignore[assignment]


class _Stubborn(Proper):
    def __init__(self, context: PluginContext, world: dict[str, str]) -> None:
        super().__init__(context, world)
        self.things.refusals["box"] = PermanentError("no boxes")


class _Twice(Proper):
    async def states(self) -> Sequence[Any]:
        return [SubsystemState(name="a"), SubsystemState(name="a")]


class _Text(Proper):
    async def states(self) -> Sequence[Any]:
        return ["well"]


class _Negative(Proper):
    async def states(self) -> Sequence[Any]:
        return [SubsystemState(name="a", counters={"packets": -1})]


class _Labelled(Proper):
    async def states(self) -> Sequence[Any]:
        return [SubsystemState(name="a", counters={"all packets": 1})]


class _Moving(Proper):
    def control_routes(self) -> Sequence[Any]:
        return [ControlRoute(method="GET", path=f"lookup{next(TURN)}", handler=lookup)]


class _Same(Proper):
    def control_routes(self) -> Sequence[Any]:
        return [*super().control_routes(), *super().control_routes()]


def _changed(**more: Any) -> Callable[[Resources, FabricFacts], Derivation]:
    def wanted(resources: Resources, facts: FabricFacts) -> Derivation:
        table = derive(resources, facts).tables["things"]
        return Derivation(tables={"things": attrs.evolve(table, **more)})

    return wanted


def _counting(resources: Resources, facts: FabricFacts) -> Derivation:
    return Derivation(tables={"things": DesiredTable(values={f"box{next(TURN)}": "here"})})


def _listing(resources: Resources, facts: FabricFacts) -> Derivation:
    values = {each.spec: ["here"] for each in resources}
    return Derivation(
        tables={"things": DesiredTable(values=values, complete=facts.complete or not resources)}
    )


def _always(resources: Resources, facts: FabricFacts) -> Derivation:
    return Derivation(tables={"things": DesiredTable(values={"box": "here"})})


def _clinging(resources: Resources, facts: FabricFacts) -> Derivation:
    return (
        derive(resources, facts) if resources else Derivation(tables={"things": DesiredTable(complete=False)})
    )


def _nowhere(resources: Resources, facts: FabricFacts | None) -> Sequence[Problem]:
    wrong = [each for each in resources if not each.spec.isalpha()]
    return [Problem(file="", line=0, resource="", path="", message="has no letters") for _ in wrong]


def _strict(resources: Resources, facts: FabricFacts | None) -> Sequence[Problem]:
    return [each.problem("spec", "is not known") for each in resources if facts is not None]


def _blaming(flow: Flow, resources: Resources, facts: FabricFacts) -> Sequence[Step]:
    return [Step("odd", "ok", "fine", "but it is to blame")]


def _raising(flow: Flow, resources: Resources, facts: FabricFacts) -> Sequence[Step]:
    return [Step("odd", "ok", resources[0].name)]


MUTANTS: tuple[tuple[type[Any], Mapping[str, Any], str], ...] = (
    (Proper, {"tables": ()}, "the_suite_has_the_tables_of_the_description"),
    (_NoTable, {}, "the_provider_has_its_tables"),
    (Proper, {"derive": _counting}, "derive_is_pure"),
    (Proper, {"derive": _listing}, "derive_is_pure"),
    (Proper, {"derive": _changed(owners={"box": "Other/t"})}, "derive_is_pure"),
    (Proper, {"derive": _changed(owners={"lost": "Thing/t"})}, "derive_is_pure"),
    (Proper, {"derive": lambda *_: Derivation()}, "derive_is_pure"),
    (Proper, {"derive": _always}, "without_resources_nothing_is_wanted"),
    (Proper, {"derive": _clinging}, "without_resources_nothing_is_wanted"),
    (Proper, {"derive": _changed(complete=True)}, "what_is_not_known_yet_takes_nothing_away"),
    (Proper, {"check": lambda *_: ()}, "check_names_the_place"),
    (Proper, {"check": _nowhere}, "check_names_the_place"),
    (Proper, {"check": _strict}, "check_names_the_place"),
    (Proper, {"explain": lambda *_: ["text"]}, "explain_answers_in_steps"),
    (Proper, {"explain": _blaming}, "explain_answers_in_steps"),
    (Proper, {"explain": _raising}, "explain_answers_in_steps"),
    (_Stubborn, {}, "what_derive_wants_can_be_had"),
    (_Twice, {}, "the_states_are_lines_with_counters"),
    (_Text, {}, "the_states_are_lines_with_counters"),
    (_Negative, {}, "the_states_are_lines_with_counters"),
    (_Labelled, {}, "the_states_are_lines_with_counters"),
    (_Moving, {}, "the_control_routes_stay_the_same"),
    (_Same, {}, "the_control_routes_stay_the_same"),
)


@pytest.mark.parametrize(("made", "more", "rule"), MUTANTS)
async def test_a_subsystem_that_breaks_a_rule_is_caught(
    made: type[Any], more: Mapping[str, Any], rule: str, tmp_path: Path
) -> None:
    assert rule in await broken(made, tmp_path, **more)


async def test_a_proper_subsystem_keeps_every_rule(tmp_path: Path) -> None:
    assert await broken(Proper, tmp_path) == set()


def test_each_rule_has_a_mutant() -> None:
    assert {f"test_{rule}" for *_, rule in MUTANTS} == set(own_rules())
