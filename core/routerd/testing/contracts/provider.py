"""The rules that the core relies on in every provider of any family."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import attrs
import pytest
import pytest_asyncio

from routerd.errors import ProviderError, RouterdError
from routerd.spi import Capability, Lifecycle, NoOptions, PluginContext, Provider
from routerd.testing.awaits import cancelled_at, counted, spread
from routerd.testing.context import TaskSpawn, make_context
from routerd.testing.contracts.samples import TableRules
from routerd.testing.contracts.table import (
    DEADLINE,
    AnySamples,
    AnyTable,
    OpenTable,
    observe,
)
from routerd.testing.contracts.trouble import Kill, TroubleRules, plans
from routerd.testing.outside import failing

P = TypeVar("P", bound=Lifecycle)
MOST_STARTS = 6
"""Maximum number of awaits, or calls outside, of one start at which a rule troubles it."""

AnyProvider = Provider[Any]  # Any: the family's suite narrows it


@contextlib.asynccontextmanager
async def running(provider: Provider[P], context: PluginContext, options: object) -> AsyncIterator[P]:
    """Create and start a provider, and close it at the end.

    Added in 1.0.
    """
    made = provider.make(context, options)
    try:
        async with asyncio.timeout(DEADLINE):
            await made.start()
        yield made
    finally:
        async with asyncio.timeout(DEADLINE):
            await made.aclose()
            if isinstance(context.spawn, TaskSpawn):
                await context.spawn.aclose()


class ProviderContract:
    """The common part of all families' suites; subclass the family's suite.

    An author overrides the fixtures `provider`, `options` (for a provider with options) and `context`
    (for a world beyond the fake kernel). The author's own fixtures remove the traces of a test.

    Added in 1.0.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset()

    @pytest.fixture
    def provider(self) -> AnyProvider:
        """Return the provider under test."""
        raise NotImplementedError("override the fixture `provider`")

    @pytest.fixture
    def options(self) -> object:
        """Return the options to create the provider with."""
        return NoOptions()

    @pytest.fixture
    def context(self, tmp_path: Path) -> PluginContext:
        """Return the world to create the provider in."""
        return make_context(tmp_path)

    @pytest_asyncio.fixture
    async def started(
        self, provider: AnyProvider, context: PluginContext, options: object
    ) -> AsyncIterator[Any]:  # Any: the family's suite narrows it
        """Return the started provider; the fixture closes it at the end."""
        async with running(provider, context, options) as made:
            yield made

    def test_the_provider_is_described(self, provider: AnyProvider, options: object) -> None:
        """The provider has a kind, a fitting options class, and exactly the capabilities tested here."""
        assert provider.kind, "the kind is empty"
        assert provider.kind == provider.kind.strip().lower(), "kinds are written in lower case"
        assert attrs.has(provider.options), "the class of the options is not an attrs class"
        assert isinstance(options, provider.options), "the fixture `options` is of another class"
        tested = provider.capabilities & {Capability.BGP, Capability.ENCRYPTS, Capability.SHARES_SITE}
        assert tested == type(self).capabilities, (
            "test a provider with Capability.BGP by BgpRoutingContract, one with "
            "Capability.ENCRYPTS by EncryptingTransportContract, one with "
            "Capability.SHARES_SITE by SharedFabricContract, and no other provider by these"
        )

    def test_create_touches_nothing(
        self, provider: AnyProvider, context: PluginContext, options: object
    ) -> None:
        """`create` leaves the provider's directories as they are; `start` begins the work."""
        before = _files(context)
        provider.make(context, options)
        assert _files(context) == before

    def test_create_refuses_options_of_another_class(
        self, provider: AnyProvider, context: PluginContext
    ) -> None:
        """A mistake in wiring shows at once and in words."""
        with pytest.raises((TypeError, RouterdError), match=r"\w"):
            provider.make(context, object())

    @pytest.mark.asyncio
    async def test_close_can_be_called_twice_and_before_start(
        self, provider: AnyProvider, context: PluginContext, options: object
    ) -> None:
        """A shutdown is never an error."""
        made = provider.make(context, options)
        # The rule is that neither call raises.
        async with asyncio.timeout(DEADLINE):
            await made.aclose()
        async with running(provider, context, options) as made:
            pass
        async with asyncio.timeout(DEADLINE):
            await made.aclose()

    @pytest.mark.proves("cancellation")
    @pytest.mark.asyncio
    async def test_a_start_that_is_cancelled_at_any_await_leaves_nothing_behind(
        self, provider: AnyProvider, context: PluginContext, options: object
    ) -> None:
        """The core cancels a start at its deadline and starts again."""
        made = provider.make(context, options)
        total = await counted(made.start(), deadline=DEADLINE)
        await made.aclose()
        for number in spread(total, MOST_STARTS):
            made = provider.make(context, options)
            await cancelled_at(made.start(), number, deadline=DEADLINE)
            async with asyncio.timeout(DEADLINE):
                await made.aclose()
            async with running(provider, context, options):
                pass

    @pytest.mark.proves("faults")
    @pytest.mark.asyncio
    async def test_any_call_outside_may_fail_during_the_start(
        self, provider: AnyProvider, context: PluginContext, options: object
    ) -> None:
        """The core tries again after a `ProviderError`; any other exception is a defect of the plugin."""
        made = provider.make(context, options)
        trials = await plans(made.start(), MOST_STARTS)
        await made.aclose()
        for plan in trials:
            made = provider.make(context, options)
            async with asyncio.timeout(DEADLINE):
                with failing(plan), contextlib.suppress(ProviderError):
                    await made.start()
                await made.aclose()
            async with running(provider, context, options):
                pass

    @pytest.mark.asyncio
    async def test_start_changes_no_link(
        self, provider: AnyProvider, context: PluginContext, options: object
    ) -> None:
        """Only `apply` changes the world outside the process."""
        before = await context.kernel.links()
        async with running(provider, context, options):
            after = await context.kernel.links()
        assert {name: link.alias for name, link in after.items()} == {
            name: link.alias for name, link in before.items()
        }


class ProviderTablesContract(ProviderContract, TroubleRules):
    """The common part of the families with tables; the author also overrides the fixture `samples`.

    Added in 1.0.
    """

    @pytest.fixture
    def samples(self) -> Mapping[str, AnySamples]:
        """Return the samples of each table by the name of its attribute."""
        return {}

    @pytest.fixture
    def table_samples(self, rules: TableRules, samples: Mapping[str, AnySamples]) -> AnySamples:
        """Return the samples of the table under test."""
        assert rules.attribute in samples, f"the fixture `samples` lacks the table {rules.attribute}"
        return samples[rules.attribute]

    @pytest.fixture
    def kill(self, context: PluginContext) -> Kill:
        """Return what ends the tasks of a process that is killed."""

        async def end() -> None:
            if isinstance(context.spawn, TaskSpawn):
                await context.spawn.aclose()

        return end

    @pytest.fixture
    def open_table(
        self,
        rules: TableRules,
        provider: AnyProvider,
        context: PluginContext,
        options: object,
        table_samples: AnySamples,
    ) -> OpenTable:
        """Open the table by starting its provider."""

        @contextlib.asynccontextmanager
        async def opened(*, prepared: bool = True) -> AsyncIterator[AnyTable]:
            async with running(provider, context, options) as made:
                if prepared:
                    async with asyncio.timeout(DEADLINE):
                        await table_samples.prepare(made)
                yield getattr(made, rules.attribute)

        return opened

    @pytest.mark.asyncio
    async def test_a_dry_run_observes(
        self,
        rules: TableRules,
        provider: AnyProvider,
        context: PluginContext,
        options: object,
    ) -> None:
        """With `read_only` a provider starts, and its tables are readable."""
        dry = attrs.evolve(context, read_only=True)
        async with running(provider, dry, options) as made:
            first = await observe(getattr(made, rules.attribute))
            assert await observe(getattr(made, rules.attribute)) == first


def _files(context: PluginContext) -> set[str]:
    return {str(path) for directory in (context.state_dir, context.run_dir) for path in directory.rglob("*")}
