"""The rules that the core relies on in every keyed table."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar, Protocol

import attrs
import pytest

from routerd.errors import NotOwnedError, ProviderError, UnsupportedError
from routerd.model.change import Change
from routerd.spi import Table
from routerd.testing.contracts.samples import Samples, TableRules

DEADLINE = 150.0
"""Maximum seconds of one call; an emulated cloud on a busy machine is slow, but no call may hang."""

AnyTable = Table[Any, Any]  # Any: the suite compares keys and values and asks for nothing else
AnySamples = Samples[Any, Any]  # Any: as above


class OpenTable(Protocol):
    """Opens the table under test; each opening plays a new process on the same world."""

    def __call__(self, *, prepared: bool = True) -> AbstractAsyncContextManager[AnyTable]:
        """Return the table while the context lasts; `prepared` runs `Samples.prepare` first."""


def changes(desired: Mapping[Any, Any], observed: Mapping[Any, Any]) -> list[Change[Any, Any]]:
    """Return creations and replacements that turn `observed` into `desired`; no deletions."""
    return [
        Change(key=key, before=observed.get(key), after=value)
        for key, value in desired.items()
        if observed.get(key) != value
    ]


def deletions(keys: Iterable[Any], observed: Mapping[Any, Any]) -> list[Change[Any, Any]]:
    """Return the deletions of `keys`."""
    return [Change(key=key, before=observed[key], after=None) for key in keys]


async def observe(table: AnyTable) -> Mapping[Any, Any]:
    """Read the table within the deadline."""
    async with asyncio.timeout(DEADLINE):
        return await table.observe()


async def apply(table: AnyTable, wanted: Sequence[Change[Any, Any]]) -> Mapping[Any, ProviderError]:
    """Apply within the deadline, and check the returned failures."""
    async with asyncio.timeout(DEADLINE):
        failures = await table.apply(wanted)
    assert set(failures) <= {change.key for change in wanted}, "a failure of a key without a change"
    assert all(isinstance(error, ProviderError) for error in failures.values()), f"foreign errors: {failures}"
    return failures


async def fill(table: AnyTable, desired: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Apply `desired` and return the observed content.

    Added in 1.0.
    """
    failures = await apply(table, changes(desired, await observe(table)))
    assert failures == {}, f"failed: {failures}"
    return await observe(table)


async def assert_ipv6_costs_no_other(
    table: AnyTable, four: Mapping[Any, Any], six: Mapping[Any, Any]
) -> None:
    """Check that a table takes IPv6 or refuses it by key as unsupported, and holds IPv4 all the same."""
    wanted = changes({**six, **four}, await observe(table))
    if hasattr(table, "foresee"):
        foreseen = table.foresee(wanted)
        assert set(foreseen) <= set(six), "an IPv6 key makes `foresee` refuse another one"
    failures = await apply(table, wanted)
    observed = await observe(table)
    assert set(failures) <= set(six), f"an IPv6 key makes another one fail: {failures}"
    for key, error in failures.items():
        assert isinstance(error, UnsupportedError), f"IPv6 is not refused as unsupported: {error!r}"
        assert key not in observed, f"{key} was refused and made"
    made = {key: value for key, value in {**four, **six}.items() if key not in failures}
    assert_holds(table, made, observed)


def is_frozen(value: object) -> bool:
    """Say whether a value is hashable and immutable."""
    kind = type(value)
    if attrs.has(kind):
        fields = attrs.fields(kind)
        if not fields:
            return True
        try:
            setattr(value, fields[0].name, None)
        except (attrs.exceptions.FrozenInstanceError, AttributeError):
            return all(is_frozen(getattr(value, field.name)) for field in fields)
        return False
    return not isinstance(value, (dict, list, set, bytearray))


class TableRulesContract:
    """The rules for all tables; the classes below add those for some.

    The fixtures `open_table` and `table_samples` come from `TableContract` or from a family's suite.
    """

    tables: ClassVar[tuple[TableRules, ...]] = ()

    def __init_subclass__(cls) -> None:
        """Remove the rules that hold for none of the tables, so that they do not count as skipped tests."""
        super().__init_subclass__()
        for name in dir(cls):
            marks = getattr(getattr(cls, name), "pytestmark", []) if name.startswith("test_") else []
            rules = [mark.args[0] for mark in marks if mark.name == "needs"]
            if cls.tables and not all(any(getattr(each, rule) for each in cls.tables) for rule in rules):
                setattr(cls, name, None)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run each rule once for each of its tables."""
        if "rules" not in metafunc.fixturenames:
            return
        needs = metafunc.definition.get_closest_marker("needs")
        rule = needs.args[0] if needs else None
        held = [rules for rules in type(self).tables if rule is None or getattr(rules, rule)]
        metafunc.parametrize("rules", held, ids=str)

    @pytest.mark.asyncio
    async def test_applied_values_are_observed(
        self, rules: TableRules, open_table: OpenTable, table_samples: AnySamples
    ) -> None:
        """A creation is visible once `apply` has returned without a failure."""
        assert len(table_samples.values) >= rules.least, "the samples of this table need more values"
        async with open_table() as table:
            observed = await fill(table, table_samples.values)
            assert_holds(table, table_samples.values, observed)

    @pytest.mark.proves("second-pass")
    @pytest.mark.asyncio
    async def test_an_apply_without_changes_changes_nothing(
        self, open_table: OpenTable, table_samples: AnySamples
    ) -> None:
        """`routerd down` applies even without a change; the things behind the keys stay."""
        async with open_table() as table:
            before = await fill(table, table_samples.values)
            assert await apply(table, []) == {}
            assert await observe(table) == before

    @pytest.mark.asyncio
    async def test_keys_and_values_are_frozen(self, open_table: OpenTable, table_samples: AnySamples) -> None:
        """The keys and values of `observe` are immutable, and the keys are hashable."""
        async with open_table() as table:
            observed = await fill(table, table_samples.values)
            assert observed
            for key, value in observed.items():
                hash(key)
                assert is_frozen(key), f"key {key!r} can be changed"
                assert is_frozen(value), f"value {value!r} can be changed"

    @pytest.mark.proves("second-pass")
    @pytest.mark.asyncio
    async def test_a_second_creation_is_a_success_and_changes_nothing(
        self, open_table: OpenTable, table_samples: AnySamples
    ) -> None:
        """The second apply writes nothing: the observed content stays equal."""
        async with open_table() as table:
            observed = await fill(table, table_samples.values)
            again = [Change(key=key, before=None, after=value) for key, value in table_samples.values.items()]
            assert await apply(table, again) == {}
            assert await observe(table) == observed

    @pytest.mark.asyncio
    async def test_an_empty_apply_is_a_success(self, open_table: OpenTable) -> None:
        """No changes, no failures."""
        async with open_table() as table:
            before = await observe(table)
            assert await apply(table, []) == {}
            assert await observe(table) == before

    @pytest.mark.proves("adoption")
    @pytest.mark.asyncio
    async def test_a_restarted_process_observes_the_same(
        self, open_table: OpenTable, table_samples: AnySamples
    ) -> None:
        """Closing leaves the data plane as it is, and a new process observes the same."""
        async with open_table() as table:
            before = await fill(table, table_samples.values)
        async with open_table(prepared=False) as table:
            assert await observe(table) == before


class ReplacementRules(TableRulesContract):
    """The rule for tables with replacements."""

    @pytest.mark.needs("replaces")
    @pytest.mark.asyncio
    async def test_a_replacement_changes_only_its_key(
        self, open_table: OpenTable, table_samples: AnySamples
    ) -> None:
        """Other keys keep their values."""
        assert table_samples.replacement, "the samples need a replacement"
        assert set(table_samples.replacement) <= set(table_samples.values)
        async with open_table() as table:
            before = await fill(table, table_samples.values)
            after = await fill(table, table_samples.replacement)
            assert after == {**before, **table_samples.replacement}


class DeletionRules(TableRulesContract):
    """The rules for tables with deletions."""

    @pytest.mark.needs("deletes")
    @pytest.mark.asyncio
    async def test_a_deletion_removes_only_its_key(
        self, open_table: OpenTable, table_samples: AnySamples
    ) -> None:
        """Other keys keep their values."""
        async with open_table() as table:
            before = dict(await fill(table, table_samples.values))
            gone = next(iter(table_samples.values))
            assert await apply(table, [Change(key=gone, before=before[gone], after=None)]) == {}
            del before[gone]
            assert await observe(table) == before

    @pytest.mark.needs("deletes")
    @pytest.mark.asyncio
    async def test_a_deletion_of_a_missing_key_is_a_success(
        self, open_table: OpenTable, table_samples: AnySamples
    ) -> None:
        """Another program may have been quicker."""
        async with open_table() as table:
            before = await observe(table)
            key, value = next(iter(table_samples.values.items()))
            assert key not in before
            assert await apply(table, [Change(key=key, before=value, after=None)]) == {}
            assert await observe(table) == before


class RefusalRules(TableRulesContract):
    """The rule for tables with creations that can fail."""

    @pytest.mark.needs("refuses")
    @pytest.mark.asyncio
    async def test_a_failing_key_stops_no_other(
        self, open_table: OpenTable, table_samples: AnySamples
    ) -> None:
        """`apply` reports the failure under its key and makes the changes before and after it."""
        assert len(table_samples.refused) == 1, "the samples need exactly one refused creation"
        async with open_table() as table:
            wanted = changes(table_samples.values, await observe(table))
            bad = [Change(key=key, before=None, after=value) for key, value in table_samples.refused.items()]
            failures = await apply(table, [*wanted[:1], *bad, *wanted[1:]])
            assert set(failures) == set(table_samples.refused)
            observed = await observe(table)
            assert_holds(table, table_samples.values, observed)
            assert not set(table_samples.refused) & set(observed)


class ForeignRules(TableRulesContract):
    """The rule for tables with foreign things in the way."""

    @pytest.mark.needs("foreign")
    @pytest.mark.asyncio
    async def test_what_is_not_ours_is_left_alone(
        self, open_table: OpenTable, table_samples: AnySamples
    ) -> None:
        """It is not observed, not replaced (`NotOwnedError`) and not deleted.

        What the deletion reports is free: nothing or `NotOwnedError`, and a table of cloud routes what
        `spi.site_routes` says.
        """
        foreign = table_samples.foreign
        assert foreign is not None, "the samples need something foreign"
        async with open_table() as table:
            await foreign.place()
            before = await foreign.read()
            assert before, "the foreign thing cannot be seen"
            assert foreign.key not in await observe(table)
            failures = await apply(table, [Change(key=foreign.key, before=None, after=foreign.value)])
            assert isinstance(failures.get(foreign.key), NotOwnedError), f"no NotOwnedError: {failures}"
            await apply(table, [Change(key=foreign.key, before=foreign.value, after=None)])
            assert await foreign.read() == before


def assert_holds(table: AnyTable, wanted: Mapping[Any, Any], observed: Mapping[Any, Any]) -> None:
    """Assert that the table shows the wanted values, by its own `agrees` if it has one."""
    agrees = getattr(table, "agrees", operator.eq)
    missing = {key: value for key, value in wanted.items() if key not in observed}
    assert not missing, f"not observed: {missing}"
    other = {key: (value, observed[key]) for key, value in wanted.items() if not agrees(value, observed[key])}
    assert not other, f"asked for and observed: {other}"


async def restore(table: AnyTable, before: Mapping[Any, Any]) -> None:
    """Return the table to its content `before`."""
    observed = await observe(table)
    gone = [Change(key=key, before=observed[key], after=None) for key in observed if key not in before]
    assert await apply(table, [*gone, *changes(before, observed)]) == {}
