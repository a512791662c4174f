"""Starts the providers in the background, retries until each has started, and closes them at the end."""

import asyncio
from collections.abc import Awaitable, Callable

import attrs

from routerd.errors import ProviderError
from routerd.process.log import Log
from routerd.process.supervisor import Supervisor
from routerd.reconcile.knowledge import Knowledge
from routerd.spi import Clock, Lifecycle
from routerd.spi.backoff import doubled

START_SECONDS = 60.0
"""Maximum seconds of one attempt to start a provider."""

CLOSE_SECONDS = 10.0
"""Maximum seconds that a provider may take to close."""

RETRY_CEILING = 60.0
"""Maximum seconds between two attempts to start a provider."""


@attrs.frozen(kw_only=True)
class Starter:
    """Holds the providers that have started; `knowledge.waiting` names the others."""

    knowledge: Knowledge
    supervisor: Supervisor
    clock: Clock
    log: Log
    wake: Callable[[], None]
    _started: list[Lifecycle] = attrs.field(factory=list, init=False)

    def start(self, name: str, provider: Lifecycle, bind: Callable[[], Awaitable[None]]) -> None:
        """Start a provider in the background and `bind` its tables; a failure is retried."""
        self.knowledge.waiting[name] = "starting"
        self.supervisor.spawn(f"start {name}", self._until_started(name, provider, bind))

    async def _until_started(
        self, name: str, provider: Lifecycle, bind: Callable[[], Awaitable[None]]
    ) -> None:
        waiting = self.knowledge.waiting
        failures = 0
        while error := await self._failure(provider, bind):
            if waiting.get(name) != error:
                self.log.warning("provider.start.failed", provider=name, error=error)
            waiting[name] = error
            failures += 1
            await self.clock.sleep(doubled(failures, ceiling=RETRY_CEILING))
        waiting.pop(name, None)
        self._started.append(provider)
        self.log.debug("provider.started", provider=name)
        self.wake()

    async def _failure(self, provider: Lifecycle, bind: Callable[[], Awaitable[None]]) -> str:
        try:
            async with asyncio.timeout(START_SECONDS):
                await provider.start()
                await bind()
        except (ProviderError, TimeoutError) as error:
            return str(error) or f"did not start within {START_SECONDS:g} s"
        return ""

    async def aclose(self) -> None:
        """Close the providers, the last one first; the data plane stays as it is."""
        for provider in reversed(self._started):
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await provider.aclose()
            except (ProviderError, TimeoutError) as error:
                self.log.warning("provider.close.failed", error=str(error))
