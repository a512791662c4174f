"""One plugin, imported and questioned: every hook is called once, and every answer is checked.

Nothing is compared with other plugins here; `conflicts` does that.
"""

import inspect
import keyword
from collections.abc import Sequence
from typing import TypeVar, cast, get_args

import attrs
import click
import pluggy

from routerd import hookspecs
from routerd.config.kinds import BUILTIN, RETIRED
from routerd.errors import PluginError, words_of
from routerd.model.resource import ResourceKind
from routerd.model.specs.enrollment import NO_JOIN_METHOD
from routerd.model.specs.mobility import NO_ENCRYPTION
from routerd.plugins.installed import InstalledPlugin
from routerd.spi import (
    API_VERSION,
    ControlRoute,
    Fabric,
    JoinMethod,
    NoOptions,
    PluginInfo,
    Provider,
    Rank,
    Routing,
    SubsystemType,
    Takes,
    TransportMode,
)

T = TypeVar("T")

BUILTIN_COMMANDS = frozenset({
    "actions", "apply", "doctor", "down", "enroll", "explain", "get", "metrics", "peers", "plan", "plugins",
    "reload", "retry", "routes", "status", "validate",
})  # fmt: skip
"""The names of routerd's own commands, which no plugin may take."""


@attrs.frozen(kw_only=True)
class LoadedPlugin:
    """An enabled plugin and everything that it describes."""

    info: PluginInfo
    installed: InstalledPlugin
    transports: tuple[TransportMode, ...] = ()
    routings: tuple[Provider[Routing], ...] = ()
    enrollments: tuple[JoinMethod, ...] = ()
    fabrics: tuple[Provider[Fabric], ...] = ()
    subsystems: tuple[SubsystemType, ...] = ()
    control_routes: tuple[ControlRoute, ...] = ()
    commands: tuple[click.Command, ...] = ()

    @property
    def resource_kinds(self) -> tuple[ResourceKind, ...]:
        """Return the kinds of resource of all its subsystems."""
        return tuple(kind for each in self.subsystems for kind in each.kinds)


def load(installed: InstalledPlugin) -> LoadedPlugin:
    """Import a plugin and call its hooks; `PluginError` says what is wrong with it."""
    name = installed.name
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(installed.entry_point.load(), name=name)
        manager.check_pending()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        version = f"{installed.distribution} {installed.version}"
        raise PluginError(f"plugin {name} ({version}): import failed: {words_of(error)}") from error
    infos = [
        _not_async(name, "routerd_plugin_info", each) for each in _call(manager, name, "routerd_plugin_info")
    ]
    if len(infos) != 1 or not isinstance(infos[0], PluginInfo):
        raise PluginError(f"plugin {name}: routerd_plugin_info must return exactly one PluginInfo")
    info = infos[0]
    if info.name != name:
        raise PluginError(f"plugin {name}: its info has the name {info.name}; use the entry point's name")
    if not _is_version(info.api):
        raise PluginError(f"plugin {name}: api {info.api!r} is not a pair of numbers such as (1, 0)")
    if info.api[0] != API_VERSION[0] or info.api > API_VERSION:
        wants, has = (".".join(map(str, version)) for version in (info.api, API_VERSION))
        raise PluginError(f"plugin {name}: it needs plugin API {wants}; this routerd has {has}")
    if not attrs.has(info.config):
        raise PluginError(f"plugin {name}: its configuration {info.config!r} is not an attrs class")
    return LoadedPlugin(
        info=info,
        installed=installed,
        transports=_listed(manager, info, "routerd_transports", TransportMode),
        routings=_listed(manager, info, "routerd_routings", Provider),
        enrollments=_listed(manager, info, "routerd_enrollments", JoinMethod),
        fabrics=_listed(manager, info, "routerd_fabrics", Provider),
        subsystems=_listed(manager, info, "routerd_subsystems", SubsystemType),
        control_routes=_listed(manager, info, "routerd_control_routes", ControlRoute),
        commands=_listed(manager, info, "routerd_commands", click.Command),
    )


def _is_version(api: object) -> bool:
    return isinstance(api, tuple) and len(api) == 2 and all(isinstance(number, int) for number in api)


def _call(manager: pluggy.PluginManager, plugin: str, hook: str) -> list[object]:
    caller: pluggy.HookCaller = getattr(manager.hook, hook)
    try:
        results = cast("list[object]", caller())
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginError(f"plugin {plugin}: {hook} failed: {words_of(error)}") from error
    # pluggy drops a None, and a plugin that forgot its `return` would provide nothing in silence.
    forgotten = len(caller.get_hookimpls()) - len(results)
    return results + [None] * forgotten


def _not_async(plugin: str, hook: str, result: object) -> object:
    if inspect.iscoroutine(result):
        result.close()
        raise PluginError(f"plugin {plugin}: {hook} is async; hooks are synchronous")
    return result


def _listed(manager: pluggy.PluginManager, info: PluginInfo, hook: str, kind: type[T]) -> tuple[T, ...]:
    items: list[T] = []
    for result in _call(manager, info.name, hook):
        for item in _sequence(info, hook, result):
            if not isinstance(item, kind):
                raise PluginError(f"plugin {info.name}: {hook} returned {item!r}, not a {kind.__name__}")
            items.append(item)
            if isinstance(item, Provider):
                _check_options(info, hook, item)
            if isinstance(item, JoinMethod):
                _check_method(info, item)
            if isinstance(item, TransportMode):
                _check_mode(info, item)
            if isinstance(item, SubsystemType):
                _check_subsystem(info, item)
            if isinstance(item, click.Command) and item.name in BUILTIN_COMMANDS:
                raise PluginError(
                    f"plugin {info.name}: command {item.name} belongs to routerd; choose another name"
                )
    return tuple(items)


def _sequence(info: PluginInfo, hook: str, result: object) -> Sequence[object]:
    _not_async(info.name, hook, result)
    if not isinstance(result, Sequence) or isinstance(result, str):
        raise PluginError(f"plugin {info.name}: {hook} returned {result!r}, not a sequence")
    return result


def _check_subsystem(info: PluginInfo, subsystem: SubsystemType) -> None:
    who = f"plugin {info.name}"
    for kind in subsystem.kinds:
        if not kind.teardown.strip():
            raise PluginError(f"{who}: kind {kind.kind} declares no teardown")
        if not attrs.has(kind.spec):
            raise PluginError(f"{who}: the spec of kind {kind.kind} is not an attrs class")
        if kind.kind in RETIRED or any(kind.kind == builtin.kind for builtin in BUILTIN):
            raise PluginError(f"{who}: kind {kind.kind} belongs to routerd; choose another name")
    names = [table.name for table in subsystem.tables]
    for table in subsystem.tables:
        what = f"{who}: table {table.name} of subsystem {subsystem.kind}"
        if not table.name.isidentifier() or keyword.iskeyword(table.name) or names.count(table.name) > 1:
            raise PluginError(f"{what}: the name must be that of one attribute of the provider")
        if table.after not in get_args(Rank):
            raise PluginError(f"{what}: after is {table.after!r}; write one of {', '.join(get_args(Rank))}")


def _check_method(info: PluginInfo, method: JoinMethod) -> None:
    if method.kind == NO_JOIN_METHOD:
        raise PluginError(
            f"plugin {info.name}: join method {method.kind} is routerd's own word; choose another name"
        )
    for side, options in (("a policy", method.policy), ("a client", method.client)):
        if not attrs.has(options):
            raise PluginError(
                f"plugin {info.name}: options of join method {method.kind} in {side} are not an attrs class"
            )


def _check_mode(info: PluginInfo, mode: TransportMode) -> None:
    who = f"plugin {info.name}: transport {mode.kind}"
    if mode.kind in NO_ENCRYPTION:
        raise PluginError(f"{who}: the name is routerd's own word; choose another name")
    if not attrs.has(mode.tunnel):
        raise PluginError(f"{who}: the options of its tunnels are not an attrs class")
    for field in ("key", "encapsulation"):
        if (given := getattr(mode, field)) not in get_args(Takes):
            raise PluginError(f"{who}: {field} is {given!r}; write one of {', '.join(get_args(Takes))}")


def _check_options(info: PluginInfo, hook: str, provider: Provider[object]) -> None:
    if not attrs.has(provider.options):
        raise PluginError(f"plugin {info.name}: options of provider {provider.kind} are not an attrs class")
    shared = provider.options in (info.config, NoOptions)
    if hook != "routerd_fabrics" and not shared:
        raise PluginError(
            f"plugin {info.name}: the options of provider {provider.kind} must be the plugin's own "
            f"configuration class {info.config.__name__}"
        )
