"""Names that two plugins claim: each is an error, because a silent winner is the worst failure of all."""

from collections.abc import Iterator, Sequence

import attrs
import click

from routerd.plugins.loading import LoadedPlugin


@attrs.frozen
class PluginFault:
    """The reason why a plugin cannot be used; `plugin` is empty when no single plugin is at fault."""

    plugin: str
    text: str


_FAMILIES = {
    "transports": ("transport mode", "provide"),
    "routings": ("routing protocol", "provide"),
    "enrollments": ("join method", "provide"),
    "fabrics": ("cloud", "provide"),
    "subsystems": ("subsystem", "provide"),
    # By the bare kind, because resources refer to each other by `Kind/name`.
    "resource_kinds": ("resource kind", "define"),
    "commands": ("command", "add"),
}
"""The noun and the verb of each family whose names must be unique."""


def conflicts(plugins: Sequence[LoadedPlugin]) -> list[PluginFault]:
    """Return a fault for each name that is claimed twice."""
    return list(dict.fromkeys(fault for family in _FAMILIES for fault in _of_family(family, plugins)))


def _of_family(family: str, plugins: Sequence[LoadedPlugin]) -> Iterator[PluginFault]:
    noun, verb = _FAMILIES[family]
    owners: dict[str, str] = {}
    for plugin in plugins:
        name = plugin.info.name
        kinds = [_name(each) for each in getattr(plugin, family)]
        for kind in kinds:
            first = owners.setdefault(kind, name)
            if first != name:
                yield PluginFault(
                    name, f"{noun} {kind}: both {first} and {name} {verb} it; enable one of them"
                )
            elif kinds.count(kind) > 1:
                yield PluginFault(name, f"plugin {name}: it {verb}s {noun} {kind} twice; uninstall it")


def _name(described: object) -> str:
    return str(described.name if isinstance(described, click.Command) else getattr(described, "kind"))  # noqa: B009
