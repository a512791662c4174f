"""Providers made from their descriptions, each with a context of its own."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from routerd.plugins.subsystems import MadeSubsystem
from routerd.plugins.tunnel_modes import TunnelMode
from routerd.process.clock import SystemClock
from routerd.process.directories import Directories
from routerd.process.log import Log
from routerd.process.log_budget import BudgetedLog
from routerd.process.supervisor import Supervisor, Work
from routerd.spi import (
    Capability,
    Clock,
    EncryptingTransport,
    Fabric,
    Kernel,
    Logger,
    PluginContext,
    Provider,
    Routing,
    SharedFabric,
    Subsystem,
    SubsystemType,
    Transport,
)

P = TypeVar("P")
D = TypeVar("D", bound=Provider[Any])


@attrs.frozen(kw_only=True)
class Providers:
    """The providers of one daemon by kind; fabrics by the name of their profile.

    `modes` are the transports again, as derivation asks them.
    `plugins` names the plugin of each provider, by family and kind: `transport/ipip`, `fabric/aws`.
    `logs` has the log of each plugin, with its budget. `faults` says which providers could not be made,
    where the configuration is `partial`.
    """

    transports: dict[str, Transport]
    modes: dict[str, TunnelMode]
    routings: dict[str, Routing]
    enrollments: JoinMethods
    fabrics: dict[str, Fabric]
    subsystems: dict[str, MadeSubsystem] = attrs.field(factory=dict)
    plugins: Mapping[str, str] = attrs.field(factory=dict)
    bgp: str = ""
    """The kind of the routing that speaks BGP, or nothing."""
    logs: Mapping[str, BudgetedLog] = attrs.field(factory=dict)
    faults: Sequence[str] = ()

    def encrypting(self) -> dict[str, EncryptingTransport]:
        """Return the transports with peers and keys."""
        found = {kind: each for kind, each in self.transports.items() if self.modes[kind].encrypts}
        return cast("dict[str, EncryptingTransport]", found)


@attrs.frozen(kw_only=True)
class Remade:
    """Providers of one plugin that were made again, by kind."""

    modes: Mapping[str, TunnelMode]
    methods: Mapping[str, MadeMethod]
    subsystems: Mapping[str, MadeSubsystem]

    def __len__(self) -> int:
        return len(self.modes) + len(self.methods) + len(self.subsystems)


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
    _logs: dict[str, BudgetedLog] = attrs.field(factory=dict)
    _faults: list[str] = attrs.field(factory=list)

    def make(self) -> Providers:
        """Make every provider that the configuration can use."""
        host = self.prepared.host
        modes = {
            kind: TunnelMode(plugin=plugin.info.name, described=described, transport=transport)
            for kind, plugin, described, transport in self._usable(host.transports())
        }
        return Providers(
            transports={kind: mode.transport for kind, mode in modes.items()},
            modes=modes,
            routings=dict(self._routings()),
            enrollments=self._join_methods(),
            fabrics=dict(self._fabrics()),
            subsystems={
                kind: self._subsystem(plugin, described, provider)
                for kind, plugin, described, provider in self._usable(host.subsystems())
            },
            plugins=self._owners(),
            bgp=next(iter(host.speaking_bgp()), ""),
            logs=self._logs,
            faults=self._faults,
        )

    def make_again(self, plugin: str) -> Remade:
        """Make the providers of a plugin again that allow it; `PluginError` when that fails."""
        host = self.prepared.host
        modes = {
            kind: TunnelMode(plugin=plugin, described=described, transport=self._shared(owner, described))
            for kind, (owner, described) in host.transports().items()
            if owner.info.name == plugin
        }
        methods = {
            kind: MadeMethod(plugin=plugin, described=described, provider=self._shared(owner, described))
            for kind, (owner, described) in host.enrollments().items()
            if owner.info.name == plugin
        }
        subsystems = {
            kind: self._subsystem(owner, described, self._shared(owner, described))
            for kind, (owner, described) in host.subsystems().items()
            if owner.info.name == plugin
        }
        return Remade(modes=modes, methods=methods, subsystems=subsystems)

    def _subsystem(self, plugin: LoadedPlugin, described: SubsystemType, made: Subsystem) -> MadeSubsystem:
        return MadeSubsystem(
            plugin=plugin.info.name, described=described, provider=made, log=self._log_of(plugin)
        )

    def _routings(self) -> Iterator[tuple[str, Routing]]:
        for kind, plugin, _, routing in self._usable(self.prepared.host.routings()):
            with self._forgiving():
                _check_preference(f"plugin {plugin.info.name}: routing {kind}", routing)
                yield kind, routing

    def _fabrics(self) -> Iterator[tuple[str, Fabric]]:
        fabrics = self.prepared.host.fabrics()
        for profile in self.prepared.intent.of(specs.CloudProviderProfileSpec):
            if self.prepared.partial and profile.spec.provider not in fabrics:
                continue  # its plugin is one of the faults
            plugin, fabric = fabrics[profile.spec.provider]
            options = self.prepared.profile_options[profile.name]
            lane = f"fabric/{profile.name}"
            with self._forgiving():
                made = self._create(plugin, fabric, options, lane=lane, instance=profile.name)
                if profile.spec.takeover_from:
                    cast("SharedFabric", made).share(frozenset(profile.spec.takeover_from))
                yield profile.name, made

    def _usable(
        self, described: Mapping[str, tuple[LoadedPlugin, D]]
    ) -> Iterator[tuple[str, LoadedPlugin, D, Any]]:  # Any: each family narrows it
        """Yield the providers of a family; with `partial` only those that can be made."""
        for kind, (plugin, provider) in described.items():
            with self._forgiving():
                yield kind, plugin, provider, self._shared(plugin, provider)

    @contextmanager
    def _forgiving(self) -> Iterator[None]:
        try:
            yield
        except PluginError as error:
            if not self.prepared.partial:
                raise
            self._faults.append(str(error))

    def _log_of(self, plugin: LoadedPlugin) -> BudgetedLog:
        name = plugin.info.name
        return self._logs.setdefault(name, BudgetedLog(self.log.bind(plugin=name)))

    def _owners(self) -> dict[str, str]:
        host = self.prepared.host
        families = {
            "transport": {kind: plugin for kind, (plugin, _) in host.transports().items()},
            "routing": {kind: plugin for kind, (plugin, _) in host.routings().items()},
            "enrollment": {kind: plugin for kind, (plugin, _) in host.enrollments().items()},
            "subsystem": {kind: plugin for kind, (plugin, _) in host.subsystems().items()},
            "fabric": {
                profile.name: host.fabrics()[profile.spec.provider][0]
                for profile in self.prepared.intent.of(specs.CloudProviderProfileSpec)
                if profile.spec.provider in host.fabrics()
            },
        }
        return {
            f"{family}/{name}": plugin.info.name
            for family, plugins in families.items()
            for name, plugin in plugins.items()
        }

    def _join_methods(self) -> JoinMethods:
        made = {
            kind: MadeMethod(plugin=plugin.info.name, described=method, provider=provider)
            for kind, plugin, method, provider in self._usable(self.prepared.host.enrollments())
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
            log=self._log_of(plugin),
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
    log: Logger,
    directories: Directories,
    **more: Any,  # noqa: ANN401 - the other fields of the context as they are
) -> PluginContext:
    name = plugin.info.name
    state, run = directories.plugin(name)
    return PluginContext(plugin=name, log=log, state_dir=state, run_dir=run, **more)


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
    except (PluginError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise PluginError(f"{who}: provider {provider.kind}: `create` failed: {error!r}") from error
    for capability, (name, words) in _PROMISES.items():
        if capability in provider.capabilities and not hasattr(made, name):
            raise PluginError(f"{who}: {provider.kind} {words}")
    return made


def _check_preference(who: str, routing: Routing) -> None:
    """Raise `PluginError` for a preference that no derivation could use."""
    try:
        found: object = routing.preference
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginError(f"{who}: `preference` failed: {error!r}") from error
    if not isinstance(found, int) or isinstance(found, bool):
        raise PluginError(f"{who}: `preference` is a {type(found).__name__}, not a number")


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
            log=BudgetedLog(log.bind(plugin=plugin.info.name)),
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
