"""The claim of a file as a command handles it: found, stamped, signed by hand, without a daemon."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from secrets import token_hex
from typing import cast

import attrs

from routerd.errors import ConfigError, PermanentError, PluginError
from routerd.model.claim import Claim
from routerd.model.intent import Intent, Named
from routerd.model.moment import exact_text
from routerd.model.names import Ref
from routerd.model.specs import SAMEnrollmentClaimSpec, SAMEnrollmentClientSpec
from routerd.model.specs.claim_codec import claim_from_spec
from routerd.model.specs.enrollment import DEFAULT_JOIN_METHOD, NO_JOIN_METHOD
from routerd.plugins.check import Prepared
from routerd.plugins.installed import provider_hint
from routerd.plugins.join_methods import JoinMethods, MadeMethod
from routerd.plugins.providers import alone
from routerd.process.log import Log
from routerd.spi import Capability, Enrollment, JoinMethod, PayloadEnrollment, Proof, Signing


@attrs.frozen(kw_only=True)
class FiledClaim:
    """A claim of the file, and the client that submits it, if there is one."""

    claim: Claim
    client: Named[SAMEnrollmentClientSpec] | None


@attrs.frozen(kw_only=True)
class Signature:
    """A claim with its proof; `payload` is the signed text, none when the method does not show it."""

    claim: Claim
    payload: bytes | None


@attrs.frozen(kw_only=True)
class Prover:
    """A join method that a command started: it makes proofs of claims of the file `prepared`."""

    methods: JoinMethods
    described: JoinMethod
    provider: Enrollment
    options: object

    def signing(self, claim: Claim, secret: str | None, challenge: str = "") -> Signing:
        """Return the question for a proof."""
        return Signing(claim=claim, secret=secret, options=self.options, challenge=challenge)

    async def sign(self, signing: Signing) -> Proof:
        """Return a proof; `JoinMethodFailed` when the method makes none."""
        return await self.methods.sign(self.described.kind, signing)


def filed_claim(prepared: Prepared, name: str | None) -> FiledClaim:
    """Return the claim of that name, or the only one; `ConfigError` lists the claims of the file."""
    intent = prepared.intent
    found = {each.name: each for each in intent.of(SAMEnrollmentClaimSpec)}
    known = ", ".join(found) or "none"
    wanted = Ref.parse(name).name if name else next(iter(found)) if len(found) == 1 else ""
    if not wanted:
        raise ConfigError.single(
            prepared.configuration.file,
            f"which claim? it has {known}",
            hint="name it with --claim",
        )
    if wanted not in found:
        raise ConfigError.single(prepared.configuration.file, f"no claim {wanted}; it has {known}")
    return FiledClaim(
        claim=claim_from_spec(wanted, found[wanted].spec), client=_client_of(intent, found[wanted].ref)
    )


def stamped(claim: Claim, now: datetime) -> Claim:
    """Return the claim with the nonce and the time of signing that it lacks."""
    return attrs.evolve(
        claim,
        join_nonce=claim.join_nonce or token_hex(16),
        join_timestamp=claim.join_timestamp or exact_text(now),
    )


def method_of(filed: FiledClaim) -> str:
    """Return the join method of a claim: that of the client that submits it, else the default."""
    return filed.client.spec.join_method if filed.client is not None else DEFAULT_JOIN_METHOD


@asynccontextmanager
async def proving(prepared: Prepared, filed: FiledClaim, log: Log) -> AsyncIterator[Prover]:
    """Yield the join method of a claim, started, from the plugins that the file allows."""
    kind = method_of(filed)
    methods = prepared.host.enrollments()
    if kind not in methods:
        enabled = [plugin.info.name for plugin in prepared.host.plugins]
        listed = ", ".join(enabled) or "none"
        raise PluginError(
            f"join method {kind}: not provided by an enabled plugin (enabled: {listed}); "
            f"{provider_hint('join-method', kind, enabled)}"
        )
    plugin, described = methods[kind]
    options = prepared.options[plugin.info.name]
    node = prepared.configuration.node
    with alone(plugin, described, options, node=node, log=log, read_only=True) as provider:
        made = MadeMethod(plugin=plugin.info.name, described=described, provider=provider)
        contained = JoinMethods({kind: made}, log=log, options=prepared.join_options)
        life = contained.lifecycles()[kind]
        await life.start()
        try:
            yield Prover(
                methods=contained,
                described=described,
                provider=provider,
                options=contained.options(filed.client.ref) if filed.client is not None else None,
            )
        finally:
            await life.aclose()


def check_signable(prepared: Prepared, filed: FiledClaim) -> None:
    """Raise `PermanentError` for a claim whose join method makes no `joinHMAC`."""
    kind = method_of(filed)
    if kind == NO_JOIN_METHOD:
        raise PermanentError(
            f"{filed.claim.ref}: joinMethod {kind} proves nothing, so there is nothing to sign; "
            "to submit the claim, run routerd enroll submit"
        )
    found = prepared.host.enrollments().get(kind)
    if found is not None and not found[1].sam_proof:
        raise PermanentError(
            f"{filed.claim.ref}: joinMethod {kind} makes no joinHMAC; its leaf proves each submission; "
            "to try it, run routerd enroll submit"
        )


async def sign(prepared: Prepared, filed: FiledClaim, secret: str, log: Log) -> Signature:
    """Return the claim signed by its join method, whose proof must be `joinHMAC`."""
    check_signable(prepared, filed)
    async with proving(prepared, filed, log) as prover:
        signing = prover.signing(filed.claim, secret)
        proof = await prover.sign(signing)
        shows = Capability.SHOWS_PAYLOAD in prover.described.capabilities
        payload = cast("PayloadEnrollment", prover.provider).payload(signing) if shows else None
    return Signature(claim=attrs.evolve(filed.claim, join_hmac=proof.join_hmac), payload=payload)


def _client_of(intent: Intent, ref: str) -> Named[SAMEnrollmentClientSpec] | None:
    for client in intent.of(SAMEnrollmentClientSpec):
        if client.spec.claim_ref in (ref, Ref.parse(ref).name):
            return client
    return None
