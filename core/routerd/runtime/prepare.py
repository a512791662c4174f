"""Everything that can be found wrong before anything is touched: file, plugins, options, needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from routerd import config
from routerd.errors import ConfigError, Problem
from routerd.model import specs
from routerd.model.intent import Intent
from routerd.runtime.host import PluginHost
from routerd.spi import Capability


@attrs.frozen(kw_only=True)
class Prepared:
    """A configuration and plugins that fit each other; nothing has been touched yet.

    `options` are the plugins' own by name, `profile_options` those of each cloud profile.
    """

    configuration: config.Configuration
    host: PluginHost
    options: Mapping[str, object]
    profile_options: Mapping[str, object]

    @property
    def intent(self) -> Intent:
        """Return the resources of the configuration."""
        return self.configuration.intent


def prepare(path: Path, *, plugins: Sequence[str] | None = None, lenient: bool = False) -> Prepared:
    """Read the file, load the plugins that `plugins` (else the file) allows, and check all of it.

    Raises `ConfigError` or `PluginError`, each with everything that was found.
    """
    names = plugins if plugins is not None else config.plugin_names(path) or ()
    host = PluginHost.load(names)
    configuration = config.load(path, kinds=host.resource_kinds(), lenient=lenient)
    problems: list[Problem] = []
    options = _plugin_options(configuration, host, problems, lenient=lenient)
    profile_options = _profile_options(configuration, host, problems, lenient=lenient)
    problems += _needs(configuration, host)
    problems.sort(key=lambda problem: problem.line)
    if errors := [problem for problem in problems if problem.severity == "error"]:
        raise ConfigError(errors)
    # What is lenient about the plugins' own options is said where the rest of the warnings is.
    problems += [_warning(configuration, text) for text in host.warnings]
    configuration = attrs.evolve(configuration, warnings=(*configuration.warnings, *problems))
    return Prepared(configuration=configuration, host=host, options=options, profile_options=profile_options)


def _warning(configuration: config.Configuration, text: str) -> Problem:
    return Problem(
        file=configuration.file, line=0, resource="", path="plugins", message=text, severity="warning"
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
            configuration.options.get(profile.name),
            provider.options,
            file=configuration.file,
            resource=profile.ref,
            path="spec.options",
            lenient=lenient,
        )
        problems += found
        options[profile.name] = value
    return options


def _needs(configuration: config.Configuration, host: PluginHost) -> Iterator[Problem]:
    """Yield a problem for each thing that the file asks for and no enabled plugin provides."""
    modes = host.transports()
    for resource in configuration.resources:
        spec = resource.spec
        wanted: tuple[str, str, bool] | None = None
        if isinstance(spec, (specs.SAMTransportProfileSpec, specs.TunnelInterfaceSpec)):
            wanted = "transport mode", spec.mode, spec.mode in modes
        elif isinstance(spec, specs.WireGuardInterfaceSpec):
            encrypts = "wireguard" in modes and Capability.ENCRYPTS in modes["wireguard"][1].capabilities
            wanted = "transport mode", "wireguard", encrypts
        elif isinstance(spec, specs.BGPRouterSpec):
            wanted = "routing protocol", "bgp", "bgp" in host.routings()
        elif isinstance(spec, (specs.SAMEnrollmentPolicySpec, specs.SAMEnrollmentClientSpec)):
            wanted = "join method", "token", "token" in host.enrollments()
        elif isinstance(spec, specs.CloudProviderProfileSpec):
            wanted = "cloud", spec.provider, spec.provider in host.fabrics()
        if wanted is None or wanted[2]:
            continue
        noun, kind, _ = wanted
        enabled = ", ".join(plugin.info.name for plugin in host.plugins) or "none"
        yield Problem(
            file=configuration.file,
            line=resource.source.line,
            resource=resource.id.ref,
            path="",
            message=f"no enabled plugin provides {noun} {kind} (enabled: {enabled})",
            hint="add the plugin to plugins: or to --plugins",
        )
