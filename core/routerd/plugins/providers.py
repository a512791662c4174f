"""Providers made from their descriptions, each with a context of its own."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import attrs

from routerd.errors import PluginError
from routerd.kernel.links import NetlinkKernel
from routerd.model import specs
from routerd.plugins.check import Prepared
from routerd.plugins.join_methods import JoinMethods, MadeMethod
from routerd.plugins.loading import LoadedPlugin
from routerd.plugins.pacing import Buckets
from routerd.plugins.tunnel_modes import TunnelMode
from routerd.process.clock import SystemClock
from routerd.process.directories import Directories
from routerd.process.log import Log
from routerd.process.supervisor import Supervisor, Work
from routerd.spi import (
    Capability,
    Clock,
    EncryptingTransport,
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
class Providers:
    """The providers of one daemon by kind; fabrics by the name of their profile.

    `modes` are the transports again, as derivation asks them.
    `plugins` names the plugin of each provider, by family and kind: `transport/ipip`, `fabric/aws`.
    """

    transports: dict[str, Transport]
    modes: dict[str, TunnelMode]
    routings: dict[str, Routing]
    enrollments: JoinMethods
    fabrics: dict[str, Fabric]
    plugins: Mapping[str, str] = attrs.field(factory=dict)
    bgp: str = ""
    """The kind of the routing that speaks BGP, or nothing."""

    def encrypting(self) -> dict[str, EncryptingTransport]:
        """Return the transports with peers and keys."""
        found = {kind: each for kind, each in self.transports.items() if self.modes[kind].encrypts}
        return cast("dict[str, EncryptingTransport]", found)


@attrs.frozen(kw_only=True)
class ProviderFactory:
    """Makes providers; with `read_only` they observe and change nothing."""

    prepared: Prepared
    directories: Directories
    kernel: Kernel
    clock: Clock
    log: Log
    supervisor: Supervisor
    wake: Callable[[str | None], None]
    read_only: bool = False
    _buckets: dict[str, Buckets] = attrs.field(factory=dict)

    def make(self) -> Providers:
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
        modes = {
            kind: TunnelMode(
                plugin=plugin.info.name, described=described, transport=self._shared(plugin, described)
            )
            for kind, (plugin, described) in host.transports().items()
        }
        return Providers(
            transports={kind: mode.transport for kind, mode in modes.items()},
            modes=modes,
            routings={k: self._shared(p, d) for k, (p, d) in host.routings().items()},
            enrollments=self._join_methods(),
            fabrics=made_fabrics,
            plugins=self._owners(),
            bgp=next(iter(host.speaking_bgp()), ""),
        )

    def _owners(self) -> dict[str, str]:
        host = self.prepared.host
        families = {
            "transport": {kind: plugin for kind, (plugin, _) in host.transports().items()},
            "routing": {kind: plugin for kind, (plugin, _) in host.routings().items()},
            "enrollment": {kind: plugin for kind, (plugin, _) in host.enrollments().items()},
            "fabric": {
                profile.name: host.fabrics()[profile.spec.provider][0]
                for profile in self.prepared.intent.of(specs.CloudProviderProfileSpec)
            },
        }
        return {
            f"{family}/{name}": plugin.info.name
            for family, plugins in families.items()
            for name, plugin in plugins.items()
        }

    def _join_methods(self) -> JoinMethods:
        made = {
            kind: MadeMethod(plugin=plugin.info.name, described=method, provider=self._shared(plugin, method))
            for kind, (plugin, method) in self.prepared.host.enrollments().items()
        }
        return JoinMethods(made, log=self.log, options=self.prepared.join_options)

    def _shared(self, plugin: LoadedPlugin, provider: Provider[P]) -> P:
        return self._create(
            plugin, provider, self.prepared.options[plugin.info.name], lane="host", instance=provider.kind
        )

    def _create(
        self, plugin: LoadedPlugin, provider: Provider[P], options: object, *, lane: str, instance: str
    ) -> P:
        def spawn(name: str, work: Work) -> None:
            self.supervisor.spawn(f"{plugin.info.name}/{instance}/{name}", work)

        context = _context(
            plugin,
            node=self.prepared.configuration.node,
            log=self.log,
            clock=self.clock,
            kernel=self.kernel,
            directories=self.directories,
            wake=lambda: self.wake(lane),
            spawn=spawn,
            pacing=self._buckets.setdefault(plugin.info.name, Buckets(self.clock)),
            read_only=self.read_only,
        )
        return create(provider, context, options)


def _context(
    plugin: LoadedPlugin,
    *,
    log: Log,
    directories: Directories,
    **more: Any,  # noqa: ANN401 - the other fields of the context as they are
) -> PluginContext:
    name = plugin.info.name
    state, run = directories.plugin(name)
    return PluginContext(plugin=name, log=log.bind(plugin=name), state_dir=state, run_dir=run, **more)


_PROMISES = {
    Capability.BGP: ("speakers", "declares BGP and has no table `speakers`"),
    Capability.ENCRYPTS: ("peers", "declares ENCRYPTS and has no table `peers`"),
    Capability.SHARES_SITE: ("share", "declares SHARES_SITE and has no method `share`"),
    Capability.DIAGNOSES: ("diagnose", "declares DIAGNOSES and has no method `diagnose`"),
    Capability.SHOWS_PAYLOAD: ("payload", "declares SHOWS_PAYLOAD and has no method `payload`"),
}


def create(provider: Provider[P], context: PluginContext, options: object) -> P:
    """Make a provider; `PluginError` when that fails or the provider lacks a declared capability."""
    who = f"plugin {context.plugin}"
    try:
        made = provider.make(context, options)
    except PluginError:
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginError(f"{who}: provider {provider.kind}: `create` failed: {error!r}") from error
    for capability, (name, words) in _PROMISES.items():
        if capability in provider.capabilities and not hasattr(made, name):
            raise PluginError(f"{who}: {provider.kind} {words}")
    return made


@contextmanager
def alone(
    plugin: LoadedPlugin, provider: Provider[P], options: object, *, node: str, log: Log, read_only: bool
) -> Iterator[P]:
    """Yield one provider, not started, for a command that needs no daemon.

    Its directories disappear with it, and it may not spawn tasks, because no daemon would keep them.
    """
    with tempfile.TemporaryDirectory(prefix="routerd-") as spare:
        directories = Directories(state=Path(spare) / "state", run=Path(spare) / "run")
        directories.make()
        clock = SystemClock()
        context = _context(
            plugin,
            node=node,
            log=log,
            clock=clock,
            kernel=NetlinkKernel(),
            directories=directories,
            wake=lambda: None,
            spawn=_refuse_to_spawn,
            pacing=Buckets(clock),
            read_only=read_only,
        )
        yield create(provider, context, options)


def _refuse_to_spawn(name: str, work: Work) -> None:
    work.close()
    raise PluginError(f"task {name}: not started; only a daemon keeps tasks")
