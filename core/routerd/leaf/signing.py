"""The claim of a file as a command handles it: found, stamped, signed by hand, without a daemon."""

from __future__ import annotations

from datetime import datetime
from secrets import token_hex
from typing import cast

import attrs

from routerd.errors import ConfigError, PluginError
from routerd.model.claim import Claim
from routerd.model.intent import Intent, Named
from routerd.model.moment import exact_text
from routerd.model.names import Ref
from routerd.model.specs import SAMEnrollmentClaimSpec, SAMEnrollmentClientSpec
from routerd.model.specs.claim_codec import claim_from_spec
from routerd.plugins.check import Prepared
from routerd.plugins.providers import alone
from routerd.process.log import Log
from routerd.spi import Capability, PayloadEnrollment


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


async def sign(prepared: Prepared, claim: Claim, secret: str, log: Log) -> Signature:
    """Return the claim signed by the join method of the plugins that the file allows."""
    methods = prepared.host.enrollments()
    if "token" not in methods:
        enabled = ", ".join(plugin.info.name for plugin in prepared.host.plugins) or "none"
        raise PluginError(
            f"join method token: not provided by an enabled plugin (enabled: {enabled}); "
            "add one, such as enrollment_token, to plugins: or to --plugins"
        )
    plugin, provider = methods["token"]
    options = prepared.options[plugin.info.name]
    node = prepared.configuration.node
    with alone(plugin, provider, options, node=node, log=log, read_only=True) as method:
        await method.start()
        try:
            signed = await method.sign(claim, secret)
            shows = Capability.SHOWS_PAYLOAD in provider.capabilities
            payload = cast("PayloadEnrollment", method).payload(signed) if shows else None
        finally:
            await method.aclose()
    return Signature(claim=signed, payload=payload)


def _client_of(intent: Intent, ref: str) -> Named[SAMEnrollmentClientSpec] | None:
    for client in intent.of(SAMEnrollmentClientSpec):
        if client.spec.claim_ref in (ref, Ref.parse(ref).name):
            return client
    return None
