"""What a file says of tunnels, checked against the transports that its plugins provide."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from routerd import config
from routerd.errors import Problem
from routerd.model import specs
from routerd.model.resource import Resource
from routerd.plugins.host import PluginHost
from routerd.plugins.installed import provider_hint
from routerd.spi import Capability, NoOptions, TransportMode

AnyResource = Resource[Any]  # Any: three kinds of resource name a transport

_FIELDS = (("key", "spec.key"), ("encap_sport", "spec.encapSport"), ("encap_dport", "spec.encapDport"))


def options(
    configuration: config.Configuration, host: PluginHost, problems: list[Problem], *, lenient: bool
) -> dict[str, object]:
    """Return the options of tunnels by their resource; adds what is wrong with them to `problems`.

    A resource whose transport has no options for its tunnels has no entry.
    """
    modes = host.transports()
    found: dict[str, object] = {}
    for each in _with_mode(configuration):
        if each.spec.mode not in modes:
            continue
        tunnel = modes[each.spec.mode][1].tunnel
        value, wrong = config.structure_options(
            configuration.options.get(each.id.ref),
            tunnel,
            file=configuration.file,
            resource=each.id.ref,
            path="spec.options",
            lenient=lenient,
        )
        problems += [each.placed(problem) for problem in wrong]
        if tunnel is not NoOptions:
            found[each.id.ref] = value
    return found


def problems(configuration: config.Configuration, host: PluginHost) -> Iterator[Problem]:
    """Yield a problem for each tunnel whose transport is missing, or does not take what it says."""
    modes = {kind: mode for kind, (_, mode) in host.transports().items()}
    enabled = [plugin.info.name for plugin in host.plugins]
    for each in _with_mode(configuration):
        encrypts = isinstance(each.spec, specs.WireGuardInterfaceSpec)
        yield from _unknown(each, "spec.mode", modes, enabled, encrypts=encrypts)
        if not encrypts and each.spec.mode in modes:
            yield from _fields(each, modes[each.spec.mode])
        if isinstance(each.spec, specs.SAMTransportProfileSpec) and each.spec.encrypted:
            yield from _unknown(each, "spec.encryption", modes, enabled, encrypts=True)


def _with_mode(configuration: config.Configuration) -> Iterator[AnyResource]:
    yield from configuration.of(specs.SAMTransportProfileSpec)
    yield from configuration.of(specs.TunnelInterfaceSpec)
    yield from configuration.of(specs.WireGuardInterfaceSpec)


def _unknown(
    each: AnyResource,
    path: str,
    modes: Mapping[str, TransportMode],
    enabled: Sequence[str],
    *,
    encrypts: bool,
) -> Iterator[Problem]:
    """Yield a problem when no transport has the name in the field `path`, or one of the other sort."""
    kind = getattr(each.spec, path.removeprefix("spec."))
    fitting = sorted(
        name for name, mode in modes.items() if (Capability.ENCRYPTS in mode.capabilities) == encrypts
    )
    if kind in fitting:
        return
    noun = "encryption" if encrypts else "tunnel mode"
    listed = ", ".join(fitting) or "none"
    if kind in modes:
        does = "does not encrypt" if encrypts else "encrypts other tunnels and carries no routes itself"
        yield each.problem(path, f"transport {kind} {does}; write one of: {listed}")
        return
    close = difflib.get_close_matches(kind, fitting, n=1)
    yield each.problem(
        path,
        f"no enabled plugin provides {noun} {kind} (enabled: {', '.join(enabled) or 'none'}; "
        f"they provide: {listed})",
        f'did you mean "{close[0]}"?' if close else provider_hint("transport", kind, enabled),
    )


def _fields(each: AnyResource, mode: TransportMode) -> Iterator[Problem]:
    """Yield a problem for each field that the mode does not take, or lacks."""
    for name, path in _FIELDS:
        takes, given = (mode.key if name == "key" else mode.encapsulation), getattr(each.spec, name)
        what = "key" if name == "key" else "UDP port"
        if takes == "required" and given is None:
            yield each.problem(path, f"is required for mode {mode.kind}")
        elif takes == "never" and given is not None:
            yield each.problem(path, f"mode {mode.kind} has no {what}", "remove it")
    sport, dport = each.spec.encap_sport, each.spec.encap_dport
    if mode.encapsulation == "optional" and (sport is None) != (dport is None):
        path = "spec.encapSport" if sport is None else "spec.encapDport"
        yield each.problem(path, "is missing; give encapSport and encapDport, or none of them")
