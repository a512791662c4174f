"""PluginHost: finds, loads and questions plugins; the only caller of pluggy's manager.

Only plugins on the allow-list are imported, so that installing a distribution never changes what
runs as root. Each plugin's hooks are called by themselves, so that a failure names its plugin and
silences no other.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from typing import Any, TypeVar, cast

import attrs
import click
import pluggy

from routerd import hookspecs
from routerd.config.kinds import BUILTIN
from routerd.errors import PluginError
from routerd.model.resource import ResourceKind
from routerd.spi import (
    API_VERSION,
    ENTRY_POINT_GROUP,
    ControlRoute,
    Enrollment,
    Fabric,
    NoOptions,
    PluginInfo,
    Provider,
    Routing,
    Transport,
)

T = TypeVar("T")
P = TypeVar("P")


@attrs.frozen(kw_only=True)
class InstalledPlugin:
    """A plugin that is installed, whether or not it is enabled."""

    name: str
    distribution: str
    version: str
    entry_point: metadata.EntryPoint = attrs.field(eq=False, repr=False)


@attrs.frozen(kw_only=True)
class LoadedPlugin:
    """An enabled plugin and everything that it describes."""

    info: PluginInfo
    installed: InstalledPlugin
    transports: tuple[Provider[Transport], ...] = ()
    routings: tuple[Provider[Routing], ...] = ()
    enrollments: tuple[Provider[Enrollment], ...] = ()
    fabrics: tuple[Provider[Fabric], ...] = ()
    resource_kinds: tuple[ResourceKind, ...] = ()
    control_routes: tuple[ControlRoute, ...] = ()
    commands: tuple[click.Command, ...] = ()


@attrs.frozen(kw_only=True)
class Installation:
    """What is installed: plugins by name, and which distributions could not be asked.

    A name with two entries is ambiguous and cannot be used.
    """

    plugins: Mapping[str, Sequence[InstalledPlugin]]
    warnings: tuple[str, ...] = ()


def installation() -> Installation:
    """Look at every distribution; one that is damaged costs a warning that names it, and no more."""
    found: dict[str, list[InstalledPlugin]] = {}
    warnings: list[str] = []
    for distribution in metadata.distributions():
        try:
            offered = _offered(distribution)
        except Exception as error:  # noqa: BLE001 - anybody's files, read by a parser that checks nothing
            name = _name_of(distribution)
            words = f"distribution {name}: its entry points cannot be read: {_words(error)}; reinstall it"
            warnings.append(words)
            continue
        earlier = {(name, each.distribution) for name, others in found.items() for each in others}
        for plugin in offered:
            # A distribution that is found in two places is the first of them, as it is for Python's import.
            if (plugin.name, plugin.distribution) not in earlier:
                found.setdefault(plugin.name, []).append(plugin)
    return Installation(plugins=found, warnings=tuple(warnings))


def _offered(distribution: metadata.Distribution) -> list[InstalledPlugin]:
    entries = dict.fromkeys(entry for entry in distribution.entry_points if entry.group == ENTRY_POINT_GROUP)
    return [
        InstalledPlugin(
            name=entry.name,
            distribution=distribution.metadata["Name"],
            version=distribution.version,
            entry_point=entry,
        )
        for entry in entries
    ]


def _name_of(distribution: metadata.Distribution) -> str:
    try:
        return f"{distribution.metadata['Name']} {distribution.version}"
    except Exception:  # noqa: BLE001 - as above; then the place is all that can be said
        return f"in {distribution.locate_file('')}"


@attrs.frozen
class PluginFault:
    """Why a plugin cannot be used; `plugin` is empty for what belongs to none in particular."""

    plugin: str
    text: str


class PluginHost:
    """The enabled plugins."""

    def __init__(self, plugins: Sequence[LoadedPlugin], *, warnings: Sequence[str] = ()) -> None:
        self.plugins = tuple(plugins)
        self.warnings = tuple(warnings)

    @classmethod
    def load(cls, names: Sequence[str]) -> PluginHost:
        """Import and question the plugins `names`, or raise one `PluginError` that names every fault."""
        host, faults = cls.attempt(names)
        if faults:
            raise PluginError("\n".join(fault.text for fault in faults))
        return host

    @classmethod
    def attempt(cls, names: Sequence[str]) -> tuple[PluginHost, tuple[PluginFault, ...]]:
        """Import and question the plugins `names`; return those that can be used, and every fault."""
        found = installation()
        repeated = sorted({name for name in names if names.count(name) > 1})
        faults = [PluginFault(name, f"plugin {name} is named twice") for name in repeated]
        loaded: list[LoadedPlugin] = []
        for name in dict.fromkeys(names):
            try:
                loaded.append(_load(_find(name, found.plugins)))
            except PluginError as error:
                faults.append(PluginFault(name, str(error)))
        faults += _conflicts(loaded)
        if any(name not in found.plugins for name in names):
            faults += [PluginFault("", text) for text in found.warnings]
        return cls(loaded, warnings=found.warnings), tuple(faults)

    def _described(self, family: str) -> Iterable[tuple[LoadedPlugin, Any]]:
        # Any: the families differ in the type of their providers; the typed methods below narrow it.
        for plugin in self.plugins:
            for provider in getattr(plugin, family):
                yield plugin, provider

    def transports(self) -> dict[str, tuple[LoadedPlugin, Provider[Transport]]]:
        """Return the transport providers by mode."""
        return {provider.kind: (plugin, provider) for plugin, provider in self._described("transports")}

    def routings(self) -> dict[str, tuple[LoadedPlugin, Provider[Routing]]]:
        """Return the routing providers by kind."""
        return {provider.kind: (plugin, provider) for plugin, provider in self._described("routings")}

    def enrollments(self) -> dict[str, tuple[LoadedPlugin, Provider[Enrollment]]]:
        """Return the join methods by kind."""
        return {provider.kind: (plugin, provider) for plugin, provider in self._described("enrollments")}

    def fabrics(self) -> dict[str, tuple[LoadedPlugin, Provider[Fabric]]]:
        """Return the fabric providers by cloud."""
        return {provider.kind: (plugin, provider) for plugin, provider in self._described("fabrics")}

    def resource_kinds(self) -> tuple[ResourceKind, ...]:
        """Return the kinds of resource that plugins add."""
        return tuple(kind for _, kind in self._described("resource_kinds"))


def _find(name: str, available: Mapping[str, Sequence[InstalledPlugin]]) -> InstalledPlugin:
    candidates = available.get(name, [])
    if len(candidates) > 1 and len({each.distribution for each in candidates}) == 1:
        first = candidates[0]
        values = " and ".join(each.entry_point.value for each in candidates)
        raise PluginError(
            f"plugin {name} is given twice by {first.distribution} {first.version}, as {values}; "
            "uninstall it or mend it"
        )
    if len(candidates) > 1:
        owners = " and ".join(sorted(f"{c.distribution} {c.version}" for c in candidates))
        raise PluginError(f"plugin {name} is offered by {owners}; uninstall one of them")
    if candidates:
        return candidates[0]
    listed = ", ".join(sorted(available)) or "none"
    close = difflib.get_close_matches(name, available, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise PluginError(f"plugin {name} is not installed (installed: {listed}){hint}")


def _load(installed: InstalledPlugin) -> LoadedPlugin:
    name = installed.name
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(installed.entry_point.load(), name=name)
        manager.check_pending()
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"plugin {name} ({installed.distribution} {installed.version}) cannot be loaded: {_words(error)}"
        ) from error
    infos = [
        _awaited_by_nobody(name, "routerd_plugin_info", each)
        for each in _call(manager, name, "routerd_plugin_info")
    ]
    if len(infos) != 1 or not isinstance(infos[0], PluginInfo):
        raise PluginError(f"plugin {name} must implement routerd_plugin_info and return a PluginInfo")
    info = infos[0]
    if info.name != name:
        raise PluginError(f"plugin {name} calls itself {info.name}; the name must equal the entry point's")
    if not _is_version(info.api):
        raise PluginError(f"plugin {name} says api {info.api!r}, which is no pair of numbers such as (1, 0)")
    if info.api[0] != API_VERSION[0] or info.api > API_VERSION:
        wants, has = (".".join(map(str, version)) for version in (info.api, API_VERSION))
        raise PluginError(f"plugin {name} needs plugin API {wants}, this routerd has {has}")
    if not attrs.has(info.config):
        raise PluginError(
            f"plugin {name}: the class of its configuration, {info.config!r}, is no attrs class"
        )
    return LoadedPlugin(
        info=info,
        installed=installed,
        transports=_listed(manager, info, "routerd_transports", Provider),
        routings=_listed(manager, info, "routerd_routings", Provider),
        enrollments=_listed(manager, info, "routerd_enrollments", Provider),
        fabrics=_listed(manager, info, "routerd_fabrics", Provider),
        resource_kinds=_listed(manager, info, "routerd_resource_kinds", ResourceKind),
        control_routes=_listed(manager, info, "routerd_control_routes", ControlRoute),
        commands=_listed(manager, info, "routerd_commands", click.Command),
    )


def _is_version(api: object) -> bool:
    return isinstance(api, tuple) and len(api) == 2 and all(isinstance(number, int) for number in api)


def _call(manager: pluggy.PluginManager, plugin: str, hook: str) -> list[object]:
    caller: pluggy.HookCaller = getattr(manager.hook, hook)
    try:
        results = cast("list[object]", caller())
    except Exception as error:
        raise PluginError(f"plugin {plugin}: {hook} failed: {_words(error)}") from error
    # pluggy drops a None, and a plugin that forgot its `return` would provide nothing in silence.
    forgotten = len(caller.get_hookimpls()) - len(results)
    return results + [None] * forgotten


def _awaited_by_nobody(plugin: str, hook: str, result: object) -> object:
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
            if isinstance(item, ResourceKind):
                _check_kind(info, item)
    return tuple(items)


def _sequence(info: PluginInfo, hook: str, result: object) -> Sequence[object]:
    _awaited_by_nobody(info.name, hook, result)
    if not isinstance(result, Sequence) or isinstance(result, str):
        raise PluginError(f"plugin {info.name}: {hook} returned {result!r}, not a sequence")
    return result


def _check_kind(info: PluginInfo, kind: ResourceKind) -> None:
    if not kind.teardown.strip():
        raise PluginError(f"plugin {info.name}: kind {kind.kind} declares no teardown")
    if not attrs.has(kind.spec):
        raise PluginError(f"plugin {info.name}: the spec of kind {kind.kind} is no attrs class")
    if any(kind.kind == builtin.kind for builtin in BUILTIN):
        raise PluginError(f"plugin {info.name}: kind {kind.kind} is routerd's own")


def _check_options(info: PluginInfo, hook: str, provider: Provider[object]) -> None:
    if not attrs.has(provider.options):
        raise PluginError(f"plugin {info.name}: the options of provider {provider.kind} are no attrs class")
    shared = provider.options in (info.config, NoOptions)
    if hook != "routerd_fabrics" and not shared:
        raise PluginError(
            f"plugin {info.name}: the options of provider {provider.kind} must be the plugin's own "
            f"configuration class {info.config.__name__}"
        )


def _conflicts(plugins: Sequence[LoadedPlugin]) -> list[PluginFault]:
    faults: list[PluginFault] = []
    families = {"transports": "transport mode", "routings": "routing protocol",
                "enrollments": "join method", "fabrics": "cloud"}  # fmt: skip
    for family, noun in families.items():
        owners: dict[str, str] = {}
        for plugin in plugins:
            for provider in getattr(plugin, family):
                first = owners.setdefault(provider.kind, plugin.info.name)
                if first != plugin.info.name:
                    text = (
                        f"{noun} {provider.kind} is provided by both {first} and {plugin.info.name}; "
                        "enable one of them"
                    )
                    faults.append(PluginFault(plugin.info.name, text))
                elif [p.kind for p in getattr(plugin, family)].count(provider.kind) > 1:
                    faults.append(PluginFault(first, f"plugin {first} provides {noun} {provider.kind} twice"))
    # By the bare kind, because resources refer to each other by `Kind/name`.
    kinds: dict[str, str] = {}
    for plugin in plugins:
        for kind in plugin.resource_kinds:
            first = kinds.setdefault(kind.kind, plugin.info.name)
            if first != plugin.info.name:
                text = (
                    f"resource kind {kind.kind} is defined by both {first} and {plugin.info.name}; "
                    "enable one of them"
                )
                faults.append(PluginFault(plugin.info.name, text))
            elif [each.kind for each in plugin.resource_kinds].count(kind.kind) > 1:
                faults.append(PluginFault(first, f"plugin {first} defines resource kind {kind.kind} twice"))
    return list(dict.fromkeys(faults))


def _words(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
