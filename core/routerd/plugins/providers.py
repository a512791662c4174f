"""Providers made from their descriptions, each with a context of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, cast

import attrs

from routerd.errors import PluginError
from routerd.kernel.links import NetlinkKernel
from routerd.model import specs
from routerd.plugins.check import Prepared
from routerd.plugins.host import LoadedPlugin
from routerd.plugins.pacing import Buckets
from routerd.process.clock import SystemClock
from routerd.process.directories import Directories
from routerd.process.log import Log
from routerd.process.supervisor import Supervisor, Work
from routerd.spi import (
    Capability,
    Clock,
    EncryptingTransport,
    Enrollment,
    Fabric,
    Kernel,
    PluginContext,
    Provider,
    Routing,
    SharedFabric,
    Transport,
)

P = TypeVar("P")


@attrs.frozen(kw_only=True)
class Made:
    """The providers of one daemon by kind; fabrics by the name of their profile."""

    transports: dict[str, Transport]
    routings: dict[str, Routing]
    enrollments: dict[str, Enrollment]
    fabrics: dict[str, Fabric]

    def encrypting(self) -> EncryptingTransport | None:
        """Return the WireGuard transport, if there is one."""
        return cast("EncryptingTransport | None", self.transports.get("wireguard"))


@attrs.frozen(kw_only=True)
class Workshop:
    """Makes providers. With `read_only` they may only look."""

    prepared: Prepared
    directories: Directories
    kernel: Kernel
    clock: Clock
    log: Log
    supervisor: Supervisor
    wake: Callable[[str | None], None]
    read_only: bool = False
    _buckets: dict[str, Buckets] = attrs.field(factory=dict)

    def make(self) -> Made:
        """Make every provider that the configuration can use."""
        host = self.prepared.host
        fabrics = host.fabrics()
        made_fabrics: dict[str, Fabric] = {}
        for profile in self.prepared.intent.of(specs.CloudProviderProfileSpec):
            plugin, fabric = fabrics[profile.spec.provider]
            options = self.prepared.profile_options[profile.name]
            made = self._create(plugin, fabric, options, lane=f"fabric/{profile.name}", instance=profile.name)
            if profile.spec.takeover_from:
                cast("SharedFabric", made).share(frozenset(profile.spec.takeover_from))
            made_fabrics[profile.name] = made
        return Made(
            transports={k: self._shared(p, d) for k, (p, d) in host.transports().items()},
            routings={k: self._shared(p, d) for k, (p, d) in host.routings().items()},
            enrollments={k: self._shared(p, d) for k, (p, d) in host.enrollments().items()},
            fabrics=made_fabrics,
        )

    def _shared(self, plugin: LoadedPlugin, provider: Provider[P]) -> P:
        return self._create(
            plugin, provider, self.prepared.options[plugin.info.name], lane="host", instance=provider.kind
        )

    def _create(
        self, plugin: LoadedPlugin, provider: Provider[P], options: object, *, lane: str, instance: str
    ) -> P:
        state, run = self.directories.plugin(plugin.info.name)

        def spawn(name: str, work: Work) -> None:
            self.supervisor.spawn(f"{plugin.info.name}/{instance}/{name}", work)

        context = PluginContext(
            plugin=plugin.info.name,
            node=self.prepared.configuration.node,
            log=self.log.bind(plugin=plugin.info.name),
            clock=self.clock,
            kernel=self.kernel,
            state_dir=state,
            run_dir=run,
            wake=lambda: self.wake(lane),
            spawn=spawn,
            pacing=self._buckets.setdefault(plugin.info.name, Buckets(self.clock)),
            read_only=self.read_only,
        )
        return create(provider, context, options)


_PROMISES = {
    Capability.ENCRYPTS: ("peers", "says it encrypts but has no peers"),
    Capability.SHARES_SITE: ("share", "says it shares its site but cannot be told with whom"),
    Capability.DIAGNOSES: ("diagnose", "says it diagnoses but does not"),
    Capability.SHOWS_PAYLOAD: ("payload", "says it shows its payload but has none"),
}


def create(provider: Provider[P], context: PluginContext, options: object) -> P:
    """Make a provider; `PluginError` when it cannot be made or lacks what it promises."""
    who = f"plugin {context.plugin}"
    try:
        made = provider.create(context, options)
    except Exception as error:
        raise PluginError(f"{who}: provider {provider.kind} cannot be made: {error!r}") from error
    for capability, (name, words) in _PROMISES.items():
        if capability in provider.capabilities and not hasattr(made, name):
            raise PluginError(f"{who}: {provider.kind} {words}")
    return made


@contextmanager
def alone(
    plugin: LoadedPlugin, provider: Provider[P], options: object, *, node: str, log: Log, read_only: bool
) -> Iterator[P]:
    """Yield one provider for a command that needs no daemon; it has not been started.

    Its directories go away with it, and what it spawns is refused: there is nobody to look after it.
    """
    with tempfile.TemporaryDirectory(prefix="routerd-") as spare:
        directories = Directories(state=Path(spare) / "state", run=Path(spare) / "run")
        directories.make()
        state, run = directories.plugin(plugin.info.name)
        clock = SystemClock()
        context = PluginContext(
            plugin=plugin.info.name,
            node=node,
            log=log.bind(plugin=plugin.info.name),
            clock=clock,
            kernel=NetlinkKernel(),
            state_dir=state,
            run_dir=run,
            wake=lambda: None,
            spawn=_refuse_to_spawn,
            pacing=Buckets(clock),
            read_only=read_only,
        )
        yield create(provider, context, options)


def _refuse_to_spawn(name: str, work: Work) -> None:
    work.close()
    raise PluginError(f"task {name} cannot run: there is no daemon that would keep it")
