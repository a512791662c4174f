"""Starts the providers in the background, retries until each has started, and closes them at the end."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import attrs

from routerd.errors import ProviderError
from routerd.process.log import Log
from routerd.process.supervisor import Supervisor
from routerd.reconcile.guard import asked, of_plugin
from routerd.reconcile.knowledge import Knowledge
from routerd.spi import Clock, Lifecycle
from routerd.spi.backoff import doubled

START_SECONDS = 60.0
"""Maximum seconds of one attempt to start a provider."""

CLOSE_SECONDS = 9.0
"""Maximum seconds that a provider may take to close; above those of a join method, which names itself."""

RETRY_CEILING = 60.0
"""Maximum seconds between two attempts to start a provider."""


@attrs.frozen(kw_only=True)
class Starter:
    """Holds the providers that have started; `knowledge.waiting` names the others.

    `plugins` has the plugin of each provider, which every failure names.
    """

    knowledge: Knowledge
    supervisor: Supervisor
    clock: Clock
    log: Log
    wake: Callable[[], None]
    plugins: Mapping[str, str] = attrs.field(factory=dict)
    _started: dict[str, Lifecycle] = attrs.field(factory=dict, init=False)

    def start(self, name: str, provider: Lifecycle, bind: Callable[[], Awaitable[None]]) -> None:
        """Start a provider in the background and `bind` its tables; a failure is retried."""
        self.knowledge.waiting[name] = "starting"
        self.supervisor.spawn(f"start {name}", self._until_started(name, provider, bind))

    async def _until_started(
        self, name: str, provider: Lifecycle, bind: Callable[[], Awaitable[None]]
    ) -> None:
        waiting = self.knowledge.waiting
        failures = 0
        while error := await self._failure(name, provider, bind):
            if waiting.get(name) != error:
                self.log.warning(
                    "provider.start.failed", provider=name, error=error, plugin=self.plugins.get(name, "")
                )
            waiting[name] = error
            failures += 1
            await self.clock.sleep(doubled(failures, ceiling=RETRY_CEILING))
        waiting.pop(name, None)
        self._started[name] = provider
        self.log.debug("provider.started", provider=name)
        self.wake()

    async def _failure(self, name: str, provider: Lifecycle, bind: Callable[[], Awaitable[None]]) -> str:
        async def start() -> None:
            await provider.start()
            await bind()

        plugin = self.plugins.get(name, "")
        try:
            await asked(
                start,
                log=self.log,
                table=name,
                call="ask",
                what="start",
                deadline=START_SECONDS,
                plugin=plugin,
            )
        except ProviderError as error:
            return f"{of_plugin('start', plugin)}: {error}"
        return ""

    async def stop(self, name: str) -> None:
        """Close one provider, or end the attempts to start it."""
        await self.supervisor.cancel(f"start {name}")
        self.knowledge.waiting.pop(name, None)
        if name in self._started:
            await self._close([name])
            del self._started[name]

    async def aclose(self) -> None:
        """Close the providers, those of one plugin the last one first; the data plane stays as it is.

        A provider that raises or hangs keeps none of the others from being closed.
        """
        by_plugin: dict[str, list[str]] = {}
        for name in reversed(self._started):
            by_plugin.setdefault(self.plugins.get(name, name), []).append(name)
        await asyncio.gather(*(self._close(names) for names in by_plugin.values()))

    async def _close(self, names: list[str]) -> None:
        for name in names:
            plugin = self.plugins.get(name, "")
            try:
                await asked(
                    self._started[name].aclose,
                    log=self.log,
                    table=name,
                    call="ask",
                    what="aclose",
                    deadline=CLOSE_SECONDS,
                    plugin=plugin,
                )
            except ProviderError as error:
                self.log.warning("provider.close.failed", provider=name, plugin=plugin, error=str(error))
