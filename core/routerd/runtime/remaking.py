"""Providers made again when a reload brings other options of their plugin."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import attrs

from routerd.model.specs import CloudProviderProfileSpec
from routerd.plugins.providers import ProviderFactory, Providers
from routerd.plugins.subsystems import MadeSubsystem
from routerd.process.log import Log
from routerd.process.supervisor import Supervisor
from routerd.reconcile.guard import disown
from routerd.reconcile.loop import Loop
from routerd.runtime.starter import Starter
from routerd.spi import Transport


@attrs.frozen(kw_only=True)
class Remaker:
    """Replaces providers in `made`; `options` are those that the providers of each plugin were made with."""

    made: Providers
    loop: Loop
    starter: Starter
    supervisor: Supervisor
    log: Log
    bind: Callable[[str, Transport], Awaitable[None]]
    bind_subsystem: Callable[[MadeSubsystem], Awaitable[None]]
    options: dict[str, object]

    def start_transport(self, mode: str, transport: Transport) -> None:
        """Start a transport and bind its tables."""
        self.starter.start(f"transport/{mode}", transport, partial(self.bind, mode, transport))

    def start_subsystem(self, kind: str, subsystem: MadeSubsystem) -> None:
        """Start a subsystem and bind its tables."""
        bind = partial(self.bind_subsystem, subsystem)
        self.starter.start(f"subsystem/{kind}", subsystem.provider, bind)

    async def remake(self, factory: ProviderFactory) -> None:
        """Make the providers whose options have changed again, with the configuration of `factory`.

        Raises `PluginError`, and changes nothing, when one cannot be made. The options of a plugin that
        speaks a routing protocol or serves a cloud wait for a restart, because its sessions would end.
        """
        options = factory.prepared.options
        changed = [name for name in options if options[name] != self.options.get(name)]
        made = {name: factory.make_again(name) for name in changed if not _must_restart(factory, name)}
        for plugin, again in made.items():
            self.options[plugin] = options[plugin]
            for kind, mode in again.modes.items():
                async with self.loop.without([f"tunnels/{kind}", f"peers/{kind}"]):
                    await self._stop(plugin, "transport", kind)
                    disown(f"tunnels/{kind}", f"peers/{kind}", f"transport/{kind}")
                    self.made.transports[kind], self.made.modes[kind] = mode.transport, mode
                self.start_transport(kind, mode.transport)
            for kind, method in again.methods.items():
                await self._stop(plugin, "enrollment", kind)
                self.made.enrollments.put(kind, method)
                contained = self.made.enrollments.lifecycles()[kind]
                self.starter.start(f"enrollment/{kind}", contained, _nothing)
            for kind, subsystem in again.subsystems.items():
                tables = list(subsystem.tables)
                async with self.loop.without(tables):
                    await self._stop(plugin, "subsystem", kind)
                    disown(*tables, f"subsystem/{kind}")
                    self.made.subsystems[kind] = subsystem
                self.start_subsystem(kind, subsystem)
            self.log.info("plugin.options", plugin=plugin, made=len(again))

    async def _stop(self, plugin: str, family: str, kind: str) -> None:
        await self.starter.stop(f"{family}/{kind}")
        await self.supervisor.cancel_below(f"{plugin}/{kind}/")

    def waiting(self, options: Mapping[str, object]) -> dict[str, str]:
        """Return by plugin what waits for a restart; `options` are those of the file."""
        return {
            name: "its options have changed; restart routerd to use them"
            for name, wanted in options.items()
            if wanted != self.options.get(name)
        }


def _must_restart(factory: ProviderFactory, plugin: str) -> bool:
    """Say whether a plugin speaks a routing protocol, or serves a cloud of the file."""
    (found,) = (each for each in factory.prepared.host.plugins if each.info.name == plugin)
    clouds = {each.kind for each in found.fabrics}
    profiles = factory.prepared.intent.of(CloudProviderProfileSpec)
    return bool(found.routings) or any(each.spec.provider in clouds for each in profiles)


async def _nothing() -> None:
    """Bind no table: a join method has none."""
