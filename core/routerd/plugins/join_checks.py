"""What a file says of join methods, checked against the methods that its plugins provide."""

from collections.abc import Iterator

from routerd import config
from routerd.errors import Problem
from routerd.model import specs
from routerd.model.resource import Resource
from routerd.model.specs.enrollment import NO_JOIN_METHOD
from routerd.plugins.host import PluginHost
from routerd.plugins.installed import provider_hint
from routerd.spi import JoinMethod

Joining = Resource[specs.SAMEnrollmentPolicySpec] | Resource[specs.SAMEnrollmentClientSpec]


def options(
    configuration: config.Configuration, host: PluginHost, problems: list[Problem], *, lenient: bool
) -> dict[str, object]:
    """Return the `joinOptions` of policies and clients by their reference; adds what is wrong with them."""
    methods = host.enrollments()
    found: dict[str, object] = {}
    for each in _joining(configuration, copies=True):
        if each.spec.join_method not in methods:
            continue
        _, method = methods[each.spec.join_method]
        value, wrong = config.structure_options(
            configuration.join_options.get(each.id.ref),
            method.policy if isinstance(each.spec, specs.SAMEnrollmentPolicySpec) else method.client,
            file=configuration.file,
            resource=each.id.ref,
            path="spec.joinOptions",
            lenient=lenient,
        )
        problems += [each.placed(problem) for problem in wrong]
        found[each.id.ref] = value
    return found


def problems(configuration: config.Configuration, host: PluginHost) -> Iterator[Problem]:
    """Yield a problem for each policy and client whose join method is missing, or lacks something."""
    methods = host.enrollments()
    enabled = [plugin.info.name for plugin in host.plugins]
    for each in _joining(configuration):
        kind = each.spec.join_method
        if kind == NO_JOIN_METHOD:
            continue
        if kind in methods:
            yield from _of_method(configuration, each, methods[kind][1])
            continue
        provided = ", ".join(sorted(methods)) or "none"
        yield each.problem(
            "spec.joinMethod",
            f"no enabled plugin provides join method {kind} (enabled: {', '.join(enabled) or 'none'}; "
            f"they provide: {provided})",
            provider_hint("join-method", kind, enabled),
        )


def _joining(configuration: config.Configuration, *, copies: bool = False) -> Iterator[Joining]:
    clients = list(configuration.of(specs.SAMEnrollmentClientSpec))
    # A leaf of the seed's dialect carries a copy of the policy, whose secrets are the reflector's.
    if copies or not clients:
        yield from configuration.of(specs.SAMEnrollmentPolicySpec)
    yield from clients


def _of_method(configuration: config.Configuration, each: Joining, method: JoinMethod) -> Iterator[Problem]:
    kind, token = method.kind, each.spec.join_token_from
    if not method.shared_secret and token is not None:
        message = f"has no effect: join method {kind} uses no join token"
        yield each.problem("spec.joinTokenFrom", message, "remove it; joinOptions has what the method needs")
    if not isinstance(each.spec, specs.SAMEnrollmentPolicySpec):
        claim = configuration.intent.get(each.spec.claim_ref, specs.SAMEnrollmentClaimSpec)
        if claim is not None and claim.spec.join_hmac and not method.sam_proof:
            message = f"is {kind}, and {claim.ref} has joinHMAC, which is the proof of another method"
            hint = "remove the claim's joinNonce, joinTimestamp and joinHMAC"
            yield each.problem("spec.joinMethod", message, hint)
        return
    if method.shared_secret and token is None:
        hint = f"write joinTokenFrom: {{file: ...}}; to admit every host, write joinMethod: {NO_JOIN_METHOD}"
        yield each.problem("spec.joinTokenFrom", f"is required with joinMethod {kind}", hint)
    listeners = list(configuration.of(specs.ControlAPISpec))
    private = bool(listeners) and all(listener.spec.tls is not None for listener in listeners)
    if not method.binds_claim and each.spec.approval != "manual" and not private:
        yield each.problem(
            "spec.approval",
            f"a proof of join method {kind} does not cover the claim, so a host that reads one on its way "
            "can put another claim beside it",
            "write approval: manual, or give the ControlAPI tls",
        )
