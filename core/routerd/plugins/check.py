"""Every check before routerd touches the host: the file, the plugins, their options, unmet needs."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs

from routerd import config
from routerd.errors import ConfigError, Problem
from routerd.model import specs
from routerd.model.intent import Intent
from routerd.model.resource import Resource
from routerd.plugins import join_checks, subsystem_checks, tunnel_checks
from routerd.plugins.conflicts import PluginFault
from routerd.plugins.host import PluginHost
from routerd.plugins.installed import provider_hint
from routerd.spi import Capability


@attrs.frozen(kw_only=True)
class Prepared:
    """A configuration and the plugins that fit it.

    `options` are those of each plugin, `profile_options` those of each cloud profile, `join_options`
    those of the join method of each policy and client, `tunnel_options` those of the tunnels of each
    profile and interface, by their reference.
    """

    configuration: config.Configuration
    host: PluginHost
    options: Mapping[str, object]
    profile_options: Mapping[str, object]
    join_options: Mapping[str, object] = attrs.field(factory=dict)
    tunnel_options: Mapping[str, object] = attrs.field(factory=dict)
    partial: bool = False
    faults: tuple[str, ...] = ()

    @property
    def intent(self) -> Intent:
        """Return the resources of the configuration."""
        return self.configuration.intent


def prepare(
    path: Path, *, plugins: Sequence[str] | None = None, lenient: bool = False, partial: bool = False
) -> Prepared:
    """Read the file, load the plugins that `plugins` (else the file) allows, and check all of it.

    Raises one `ConfigError` with every problem of the file and of the plugins. With `partial` a plugin that
    cannot be used is one of the `faults` of the result instead, for a command that needs no plugin in
    particular.
    """
    return _prepare(config.read_document(path), plugins=plugins, lenient=lenient, partial=partial)


def prepare_text(text: str, *, file: str) -> Prepared:
    """Check a configuration from memory; messages call it `file`."""
    return _prepare(config.parse_document(text, file), plugins=None, lenient=False)


def _prepare(
    document: config.Document, *, plugins: Sequence[str] | None, lenient: bool, partial: bool = False
) -> Prepared:
    named = plugins if plugins is not None else config.plugin_names(document) or ()
    host, faults = PluginHost.attempt(named)
    configuration, problems = config.examine(
        document, kinds=host.resource_kinds(), lenient=lenient, all_kinds=not faults
    )
    if not partial:
        problems += _faults(configuration, faults, of_file=plugins is None)
    options = _plugin_options(configuration, host, problems, lenient=lenient)
    profile_options = _profile_options(configuration, host, problems, lenient=lenient)
    join_options = join_checks.options(configuration, host, problems, lenient=lenient)
    tunnel_options = tunnel_checks.options(configuration, host, problems, lenient=lenient)
    if not faults:
        # A plugin that failed to load might have provided what is missing.
        problems += _needs(configuration, host)
        problems += _sharing(configuration, host)
        problems += join_checks.problems(configuration, host)
        problems += tunnel_checks.problems(configuration, host)
        if all(problem.severity != "error" for problem in problems):
            # A subsystem may rely on it that everything else is right.
            problems += subsystem_checks.problems(configuration, host)
        problems += [_of_plugins(configuration, text, severity="warning") for text in host.warnings]
    problems.sort(key=lambda problem: problem.line)
    if errors := [problem for problem in problems if problem.severity == "error"]:
        raise ConfigError(errors)
    return Prepared(
        configuration=attrs.evolve(configuration, warnings=tuple(problems)),
        host=host,
        options=options,
        profile_options=profile_options,
        join_options=join_options,
        tunnel_options=tunnel_options,
        partial=partial,
        faults=tuple(fault.text for fault in faults),
    )


def _faults(
    configuration: config.Configuration, faults: Sequence[PluginFault], *, of_file: bool
) -> Iterator[Problem]:
    lines = {section.name: section.line for section in configuration.plugins or ()}
    for fault in faults:
        if of_file:
            yield _of_plugins(configuration, fault.text, line=lines.get(fault.plugin, 0))
        else:
            yield Problem(file="--plugins", line=0, resource="", path="", message=fault.text)


def _of_plugins(
    configuration: config.Configuration, text: str, *, line: int = 0, severity: str = "error"
) -> Problem:
    return Problem(
        file=configuration.file, line=line, resource="", path="plugins", message=text, severity=severity
    )


def _plugin_options(
    configuration: config.Configuration, host: PluginHost, problems: list[Problem], *, lenient: bool
) -> dict[str, object]:
    sections = {section.name: section for section in configuration.plugins or ()}
    options: dict[str, object] = {}
    for plugin in host.plugins:
        section = sections.pop(plugin.info.name, None)
        value, found = config.structure_options(
            section.node if section else None,
            plugin.info.config,
            file=configuration.file,
            resource=f"plugin {plugin.info.name}",
            path=f"plugins.{plugin.info.name}",
            lenient=lenient,
        )
        problems += found
        options[plugin.info.name] = value
    return options


def _profile_options(
    configuration: config.Configuration, host: PluginHost, problems: list[Problem], *, lenient: bool
) -> dict[str, object]:
    fabrics = host.fabrics()
    options: dict[str, object] = {}
    for profile in configuration.intent.of(specs.CloudProviderProfileSpec):
        if profile.spec.provider not in fabrics:
            continue
        _, provider = fabrics[profile.spec.provider]
        value, found = config.structure_options(
            configuration.options.get(profile.ref),
            provider.options,
            file=configuration.file,
            resource=profile.ref,
            path="spec.options",
            lenient=lenient,
        )
        problems += found
        options[profile.name] = value
    return options


def _sharing(configuration: config.Configuration, host: PluginHost) -> Iterator[Problem]:
    """Yield a problem for each profile with `takeoverFrom` whose plugin cannot take over routes."""
    fabrics = host.fabrics()
    for resource in configuration.of(specs.CloudProviderProfileSpec):
        spec = resource.spec
        if not spec.takeover_from or spec.provider not in fabrics:
            continue
        plugin, provider = fabrics[spec.provider]
        if Capability.SHARES_SITE not in provider.capabilities:
            yield resource.problem(
                "spec.takeoverFrom",
                f"plugin {plugin.info.name} cannot take over routes of other routers",
                "remove the field; the site then has one router",
            )


def _needs(configuration: config.Configuration, host: PluginHost) -> Iterator[Problem]:
    """Yield a problem for each routing protocol or cloud that no enabled plugin provides."""
    speaking = host.speaking_bgp()
    for resource in configuration.resources:
        spec = resource.spec
        if isinstance(spec, specs.BGPRouterSpec) and len(speaking) > 1:
            yield resource.problem(
                "",
                f"{len(speaking)} enabled routing protocols speak BGP: {', '.join(sorted(speaking))}",
                "keep the plugin of one of them in plugins: or --plugins",
            )
        if isinstance(spec, specs.BGPRouterSpec) and not speaking:
            yield _unprovided(resource, "", "routing", "bgp", host)
        elif isinstance(spec, specs.CloudProviderProfileSpec) and spec.provider not in host.fabrics():
            yield _unprovided(resource, "spec.provider", "cloud", spec.provider, host)


def _unprovided(
    resource: Resource[Any],  # Any: of two kinds
    path: str,
    family: Literal["routing", "cloud"],
    kind: str,
    host: PluginHost,
) -> Problem:
    enabled = [plugin.info.name for plugin in host.plugins]
    noun, provided = ("cloud", host.fabrics()) if family == "cloud" else ("routing protocol", host.routings())
    return resource.problem(
        path,
        f"no enabled plugin provides {noun} {kind} (enabled: {', '.join(enabled) or 'none'}; "
        f"they provide: {', '.join(sorted(provided)) or 'none'})",
        provider_hint(family, kind, enabled),
    )
