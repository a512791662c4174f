"""The installed plugins, by the entry points of every distribution. Nothing is imported."""

import difflib
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Literal

import attrs

from routerd.errors import PluginError, words_of
from routerd.spi import ENTRY_POINT_GROUP

PROVIDES_GROUP = "routerd.provides.v1"
"""Entry points that say what a plugin provides: `transport.fou = "its_module"`. routerd never loads one.

`command.verify = "its_module"` says that the command `routerd verify` is its.
"""

Family = Literal["transport", "routing", "join-method", "cloud", "subsystem", "command"]


@attrs.frozen(kw_only=True)
class InstalledPlugin:
    """An installed plugin, enabled or not."""

    name: str
    distribution: str
    version: str
    entry_point: metadata.EntryPoint = attrs.field(eq=False, repr=False)
    provides: frozenset[str] = frozenset()
    """The names that it provides by its distribution's word: `transport.fou`."""


@attrs.frozen(kw_only=True)
class Installation:
    """Installed plugins by name, and a warning for each unreadable distribution.

    A name with two entries is ambiguous and cannot be used.
    """

    plugins: Mapping[str, Sequence[InstalledPlugin]]
    warnings: tuple[str, ...] = ()


def installation() -> Installation:
    """Read the entry points of every distribution; a damaged one becomes a warning that names it."""
    found: dict[str, list[InstalledPlugin]] = {}
    warnings: list[str] = []
    for distribution in metadata.distributions():
        try:
            offered = _offered(distribution)
        except Exception as error:  # noqa: BLE001 - anybody's files, read by a parser that checks nothing
            name = _name_of(distribution)
            warnings.append(
                f"distribution {name}: its entry points cannot be read: {words_of(error)}; reinstall it"
            )
            continue
        earlier = {(name, each.distribution) for name, others in found.items() for each in others}
        for plugin in offered:
            # A distribution that is found in two places is the first of them, as it is for Python's import.
            if (plugin.name, plugin.distribution) not in earlier:
                found.setdefault(plugin.name, []).append(plugin)
    return Installation(plugins=found, warnings=tuple(warnings))


def owners() -> dict[str, str]:
    """Return the plugin of each top-level package, also of one that has not been loaded."""
    return {
        each.entry_point.module.partition(".")[0]: name
        for name, candidates in installation().plugins.items()
        for each in candidates
    }


def _offered(distribution: metadata.Distribution) -> list[InstalledPlugin]:
    entries = dict.fromkeys(entry for entry in distribution.entry_points if entry.group == ENTRY_POINT_GROUP)
    provides = [entry for entry in distribution.entry_points if entry.group == PROVIDES_GROUP]
    return [
        InstalledPlugin(
            name=entry.name,
            distribution=distribution.metadata["Name"],
            version=distribution.version,
            entry_point=entry,
            provides=frozenset(each.name for each in provides if each.value == entry.value),
        )
        for entry in entries
    ]


def _name_of(distribution: metadata.Distribution) -> str:
    try:
        return f"{distribution.metadata['Name']} {distribution.version}"
    except Exception:  # noqa: BLE001 - as above; only the place is left to name
        return f"in {distribution.locate_file('')}"


def find(name: str, available: Mapping[str, Sequence[InstalledPlugin]]) -> InstalledPlugin:
    """Return the plugin of that name; `PluginError` when there is none, or more than one."""
    candidates = available.get(name, [])
    if len(candidates) > 1 and len({each.distribution for each in candidates}) == 1:
        first = candidates[0]
        values = " and ".join(each.entry_point.value for each in candidates)
        raise PluginError(
            f"plugin {name}: {first.distribution} {first.version} offers it twice, as {values}; uninstall it"
        )
    if len(candidates) > 1:
        owners = " and ".join(sorted(f"{c.distribution} {c.version}" for c in candidates))
        raise PluginError(f"plugin {name}: {owners} offer it; uninstall one of them")
    if candidates:
        return candidates[0]
    listed = ", ".join(sorted(available)) or "none"
    close = difflib.get_close_matches(name, available, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise PluginError(f"plugin {name} is not installed (installed: {listed}){hint}")


def adding(command: str) -> list[str]:
    """Return the installed plugins that add a command: the one of its name, else by their distributions."""
    plugins = installation().plugins
    if command in plugins:
        return [command]
    return sorted(name for name in plugins if command in _provided("command", name))


def providers(family: Family, kind: str) -> list[str]:
    """Return the installed plugins that provide something, enabled or not.

    Nothing is imported, because importing runs a plugin's code. The distribution says what its plugins
    provide; without that, a plugin's name ends with it (`join_ed25519`, `cloud_aws`).
    """
    names = sorted(installation().plugins)
    return [name for name in names if kind in _provided(family, name)] or [
        name for name in names if name == kind or name.endswith(f"_{kind}")
    ]


def _provided(family: Family, name: str) -> list[str]:
    entries = {entry for each in installation().plugins[name] for entry in each.provides}
    return sorted(kind for of, _, kind in (entry.partition(".") for entry in entries) if of == family)


def provider_hint(family: Family, kind: str, enabled: Sequence[str]) -> str:
    """Return the remedy for a name that no enabled plugin provides; it says what is installed."""
    kinds = {name: _provided(family, name) for name in sorted(installation().plugins) if name not in enabled}
    fitting = [name for name in providers(family, kind) if name not in enabled]
    if fitting:
        return f"enable plugin {' or '.join(fitting)}, which is installed: add it to plugins: or to --plugins"
    listed = ", ".join(
        f"{name} ({', '.join(provided)})" if provided else name for name, provided in kinds.items()
    )
    return (
        "install the plugin that provides it, and add it to plugins: or to --plugins "
        f"(installed, not enabled: {listed or 'none'})"
    )
