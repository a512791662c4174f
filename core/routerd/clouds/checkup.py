"""The check of a file's clouds, without a daemon and without a change."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import cast

import attrs

from routerd.errors import ConfigError, ProviderError
from routerd.model import specs
from routerd.model.fabric import FabricRoute, Finding, Forwarding, InstanceFacts
from routerd.model.intent import Named
from routerd.model.names import Ref
from routerd.model.report.checks import CheckedNic, CheckedProfile
from routerd.plugins.check import Prepared
from routerd.plugins.providers import alone
from routerd.process.log import Log
from routerd.reconcile.guard import Broken, Unanswered, asked, contained, content_of
from routerd.spi import Capability, DiagnosingFabric, Fabric, SharedFabric

SECONDS = 60.0
"""Maximum seconds of one question to a cloud, the retries of its SDK included."""

_DIAGNOSIS_SECONDS = 180.0

CLOSE_SECONDS = 9.0
"""Maximum seconds that a cloud may take to close, as in the daemon."""


def chosen(prepared: Prepared, name: str | None) -> list[Named[specs.CloudProviderProfileSpec]]:
    """Return the profile of that name, or all; `ConfigError` when the file has none."""
    profiles = list(prepared.intent.of(specs.CloudProviderProfileSpec))
    wanted = None if name is None else Ref.parse(name).name
    found = [each for each in profiles if wanted in (None, each.name)]
    if found:
        return found
    known = ", ".join(each.name for each in profiles) or "none"
    what = f"CloudProviderProfile {name}" if name else "CloudProviderProfile"
    raise ConfigError.single(prepared.configuration.file, f"no {what}; the file has {known}")


async def examine(
    prepared: Prepared, profile: Named[specs.CloudProviderProfileSpec], log: Log
) -> CheckedProfile:
    """Ask one cloud for our identity, its state and our permissions; a missing answer becomes a finding."""
    plugin, provider = prepared.host.fabrics()[profile.spec.provider]
    options = prepared.profile_options[profile.name]
    node = prepared.configuration.node
    checkup = CheckedProfile(
        profile=profile.name,
        provider=profile.spec.provider,
        mode=profile.spec.mode,
        healthy=True,
        diagnosed=False,
    )
    with alone(plugin, provider, options, node=node, log=log, read_only=True) as fabric:
        if profile.spec.takeover_from:
            cast("SharedFabric", fabric).share(frozenset(profile.spec.takeover_from))
        try:
            checkup, silent = await _asked(checkup, fabric, log, plugin.info.name)
            if Capability.DIAGNOSES in provider.capabilities and not silent:
                checkup = await _diagnosed(checkup, cast("DiagnosingFabric", fabric), log, plugin.info.name)
        finally:
            await _let_go(fabric, profile.name, log, plugin.info.name)
    return checkup


async def _asked(
    checkup: CheckedProfile, fabric: Fabric, log: Log, plugin: str
) -> tuple[CheckedProfile, bool]:
    """Return what the cloud answers, and whether its plugin did not answer at all."""
    step, profile = "start", checkup.profile
    ask = partial(asked, log=log, deadline=SECONDS, plugin=plugin)
    try:
        await ask(fabric.start, table=profile, call="ask", what="start")
        step = "instance"
        checkup = _identified(checkup, await ask(fabric.instance, table=profile, call="ask", what="instance"))
        step = "forwarding"
        with contained(log, table=profile, call="ask", plugin=plugin):
            forwarding, routes = fabric.forwarding, fabric.routes
        seen = await ask(forwarding.observe, table=f"forwarding/{profile}", call="observe")
        with contained(log, table=f"forwarding/{profile}", call="observe", plugin=plugin):
            switches = cast("Mapping[str, Forwarding]", content_of(seen))
            nics = tuple(
                attrs.evolve(nic, forwarding=switches[nic.ref].enabled if nic.ref in switches else None)
                for nic in checkup.nics
            )
            checkup = attrs.evolve(checkup, nics=nics)
        step = "routes"
        there = await ask(routes.observe, table=f"routes/{profile}", call="observe")
        with contained(log, table=f"routes/{profile}", call="observe", plugin=plugin):
            found = cast("Mapping[object, FabricRoute]", content_of(there))
            leading = sum(route.next_hop == checkup.next_hop for route in found.values())
            checkup = attrs.evolve(checkup, routes=leading)
    except ProviderError as error:
        return _missing(checkup, _QUESTIONS[step], _detail(error, plugin)), isinstance(error, Unanswered)
    return checkup, False


def _identified(checkup: CheckedProfile, facts: InstanceFacts) -> CheckedProfile:
    return attrs.evolve(
        checkup,
        instance=facts.instance,
        next_hop=facts.next_hop,
        nics=tuple(CheckedNic(**attrs.asdict(nic, recurse=False)) for nic in facts.nics),
        route_tables=facts.route_tables,
        networks=tuple(map(str, facts.networks)),
    )


async def _diagnosed(
    checkup: CheckedProfile, fabric: DiagnosingFabric, log: Log, plugin: str
) -> CheckedProfile:
    """Add the provider's findings about its permissions, also after a question without an answer."""
    try:
        findings = await asked(
            fabric.diagnose,
            log=log,
            table=checkup.profile,
            call="ask",
            what="diagnose",
            deadline=_DIAGNOSIS_SECONDS,
            plugin=plugin,
        )
    except ProviderError as error:
        # A cloud that answers nothing already has one finding that says so.
        return checkup if checkup.findings else _missing(checkup, "permissions", _detail(error, plugin))
    return _with_findings(attrs.evolve(checkup, diagnosed=True), findings)


async def _let_go(fabric: Fabric, profile: str, log: Log, plugin: str) -> None:
    ask = partial(asked, log=log, deadline=CLOSE_SECONDS, plugin=plugin)
    try:
        await ask(fabric.aclose, table=profile, call="ask", what="aclose")
    except ProviderError as error:
        log.warning("provider.close.failed", plugin=plugin, error=str(error))


def _detail(error: ProviderError, plugin: str) -> str:
    """Return the words of the cloud, or of what the plugin itself did wrong."""
    return f"plugin {plugin}: {error}" if isinstance(error, Broken) else str(error)


def _missing(checkup: CheckedProfile, subject: str, detail: str) -> CheckedProfile:
    return _with_findings(checkup, [Finding(subject=subject, state="missing", detail=detail)])


def _with_findings(checkup: CheckedProfile, more: Sequence[Finding]) -> CheckedProfile:
    findings = (*checkup.findings, *more)
    return attrs.evolve(
        checkup, findings=findings, healthy=all(finding.state != "missing" for finding in findings)
    )


_QUESTIONS = {
    "start": "metadata service or login",
    "instance": "identity of this instance",
    "forwarding": "reading the forwarding switch",
    "routes": "reading the route tables",
}
"""The subject of the finding for each question."""
