"""The rules that the core relies on in a subsystem."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import attrs
import pytest

from routerd.model.change import DesiredTable
from routerd.model.claim import prefix
from routerd.model.intent import Intent
from routerd.model.names import NodeName
from routerd.model.report.explanation import Step
from routerd.model.subsystem import Derivation, FabricFacts, Flow, SubsystemState
from routerd.spi import ControlRoute, PluginContext, Resources, Subsystem, SubsystemType
from routerd.testing.contracts.provider import ProviderTablesContract, running
from routerd.testing.contracts.samples import TableRules
from routerd.testing.contracts.table import (
    DEADLINE,
    DeletionRules,
    ForeignRules,
    RefusalRules,
    ReplacementRules,
    assert_holds,
    fill,
    is_frozen,
)


class SubsystemContract(ProviderTablesContract, ReplacementRules, DeletionRules, RefusalRules, ForeignRules):
    """The suite of a subsystem: its pure functions, its tables, and what it reports.

    Set `tables` to the rules of each of its tables. `resources` are valid resources of its kinds, `facts` a
    fabric in which `derive` wants something for them; `wrong` are resources that `check` refuses.

    Added in 1.0.
    """

    tables: ClassVar[tuple[TableRules, ...]] = ()

    @pytest.fixture
    def resources(self) -> Resources:
        """Return valid resources of the subsystem's kinds."""
        raise NotImplementedError("override the fixture `resources`")

    @pytest.fixture
    def facts(self, resources: Resources) -> FabricFacts:
        """Return a fabric; here one without leaves, tunnels and routes."""
        return FabricFacts(intent=Intent(node=NodeName("here"), resources=tuple(resources)))

    @pytest.fixture
    def wrong(self) -> Resources:
        """Return resources with a mistake that `check` finds; none when it finds nothing."""
        return ()

    def test_the_suite_has_the_tables_of_the_description(self, provider: SubsystemType) -> None:
        """Every table is tested, and no other."""
        assert sorted(each.attribute for each in type(self).tables) == sorted(
            each.name for each in provider.tables
        )

    def test_the_provider_has_its_tables(
        self, provider: SubsystemType, context: PluginContext, options: object
    ) -> None:
        """Each table of the description is an attribute before the start, with `observe` and `apply`."""
        made = provider.make(context, options)
        for each in provider.tables:
            table = getattr(made, each.name)
            assert callable(table.observe), f"{each.name} has no observe"
            assert callable(table.apply), f"{each.name} has no apply"

    def test_derive_is_pure(self, provider: SubsystemType, resources: Resources, facts: FabricFacts) -> None:
        """Equal arguments get equal answers; keys and values are frozen, owners are resources of the file."""
        first, second = provider.derive(resources, facts), provider.derive(resources, facts)
        assert isinstance(first, Derivation)
        assert first == second, "derive answers differently the second time"
        assert set(first.tables) <= {each.name for each in provider.tables}
        assert any(table.values for table in first.tables.values()), (
            "derive wants nothing; give `resources` and `facts` for which it does"
        )
        refs = {each.id.ref for each in resources}
        for name, table in first.tables.items():
            for key, value in table.values.items():
                assert is_frozen(key), f"key {key!r} of {name} can be changed"
                assert is_frozen(value), f"value {value!r} of {name} can be changed"
            assert set(table.owners.values()) <= refs, f"{name} has an owner that is not in the file"
            assert set(table.owners) <= set(table.values), f"{name} has an owner of a key that it lacks"

    def test_without_resources_nothing_is_wanted(self, provider: SubsystemType, facts: FabricFacts) -> None:
        """A plugin that is enabled and not used changes nothing."""
        bare = attrs.evolve(facts, intent=attrs.evolve(facts.intent, resources=()))
        for name, table in provider.derive((), bare).tables.items():
            assert not table.values, f"{name} is not empty"
            assert table.complete, f"{name} would keep what an earlier file asked for"

    def test_what_is_not_known_yet_takes_nothing_away(
        self, provider: SubsystemType, resources: Resources, facts: FabricFacts
    ) -> None:
        """While the facts are not complete, a table that lacks a key of theirs is not complete either."""
        known = provider.derive(resources, facts).tables
        early = attrs.evolve(facts, leaves=(), own=(), links=(), routes=(), complete=False)
        for name, table in known.items():
            now = provider.derive(resources, early).tables.get(name, DesiredTable())
            lost = set(table.values) - set(now.values)
            assert not (lost and now.complete), f"{name} would delete {lost}"

    def test_check_names_the_place(
        self, provider: SubsystemType, resources: Resources, facts: FabricFacts, wrong: Resources
    ) -> None:
        """Valid resources have no error, with and without facts; a mistake has its file, line and words."""
        for known in (None, facts):
            errors = [each for each in provider.check(resources, known) if each.severity == "error"]
            assert not errors, f"{errors[0]}"
        found = [each for each in provider.check(wrong, None) if each.severity == "error"]
        assert bool(found) == bool(wrong), "check finds nothing wrong with `wrong`"
        for problem in found:
            assert problem.message.strip(), "a problem has no words"
            assert problem.file, "a problem has no file; use Resource.problem"
            assert problem.resource in {each.id.ref for each in wrong}, f"{problem}: it is of no resource"

    def test_explain_answers_in_steps(
        self, provider: SubsystemType, resources: Resources, facts: FabricFacts
    ) -> None:
        """Every flow has an answer; only a bad step is to blame, and asking twice changes nothing."""
        for protocol, port in (("", 0), ("tcp", 22), ("icmp", 0)):
            flow = Flow(
                source=prefix("192.0.2.1"), destination=prefix("198.51.100.1"), protocol=protocol, port=port
            )
            for of in (resources, ()):
                steps = provider.explain(flow, of, facts)
                assert all(isinstance(step, Step) for step in steps)
                assert all(step.state == "bad" or not step.blame for step in steps)
                assert list(steps) == list(provider.explain(flow, of, facts))

    @pytest.mark.asyncio
    async def test_what_derive_wants_can_be_had(
        self,
        provider: SubsystemType,
        context: PluginContext,
        options: object,
        resources: Resources,
        facts: FabricFacts,
    ) -> None:
        """The tables take what `derive` wants, and show it: a second pass finds nothing to do."""
        wanted = provider.derive(resources, facts)
        async with running(cast("Any", provider), context, options) as made:
            for each in provider.tables:
                table = getattr(made, each.name)
                values = wanted.tables.get(each.name, DesiredTable()).values
                assert_holds(table, values, await fill(table, values))

    @pytest.mark.asyncio
    async def test_the_states_are_lines_with_counters(
        self, provider: SubsystemType, context: PluginContext, options: object
    ) -> None:
        """Each line has a name of its own, and its counters are numbers from 0 on."""
        async with running(cast("Any", provider), context, options) as made:
            async with asyncio.timeout(DEADLINE):
                states = await made.states()
        assert all(isinstance(state, SubsystemState) for state in states)
        names = [state.name for state in states]
        assert len(set(names)) == len(names), f"a name is there twice: {names}"
        for state in states:
            assert is_counters(state.counters), f"{state.name}: {state.counters}"

    @pytest.mark.asyncio
    async def test_the_control_routes_stay_the_same(
        self, provider: SubsystemType, context: PluginContext, options: object
    ) -> None:
        """The core asks for them again after a reload and finds each by method and path."""
        made: Subsystem = provider.make(context, options)
        routes = made.control_routes()
        assert all(isinstance(route, ControlRoute) for route in routes)
        places = [(route.method, route.path) for route in routes]
        assert places == [(route.method, route.path) for route in made.control_routes()]
        assert len(set(places)) == len(places), f"a route is there twice: {places}"


def is_counters(counters: Mapping[str, int]) -> bool:
    """Say whether counters have names for metrics, and values of counters."""
    return all(
        name.isascii() and name.isidentifier() and name == name.lower() and type(count) is int and count >= 0
        for name, count in counters.items()
    )
