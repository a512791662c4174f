"""`routerd enroll submit`: submit a claim to route reflectors once, and print each answer."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import attrs
import click

from routerd.cli.enroll.leaf.listener import Listener, with_listener, without_target
from routerd.cli.share.output import Output, with_output
from routerd.cli.share.settings import Settings, with_settings
from routerd.config import secrets
from routerd.control.enroll_client import ClaimRejected, EnrollClient
from routerd.control.ports import PresentedProof
from routerd.errors import ConfigError, ProviderError
from routerd.leaf import signing as claims
from routerd.model.claim import Claim
from routerd.model.moment import second_text
from routerd.model.report.claims import Submission, SubmissionList
from routerd.model.specs.enrollment import NO_JOIN_METHOD
from routerd.plugins.check import Prepared
from routerd.process.clock import SystemClock

PENDING = "approval-pending"


@click.command("submit")
@click.option("--claim", "name", metavar="NAME", help="The claim of the file; needed when it has several.")
@with_output
@with_listener
@with_settings
def command(settings: Settings, *, name: str | None, listener: Listener, output: Output) -> None:
    """Submit a claim of the file once, and print each answer.

    By default to every endpoint of the SAMEnrollmentClient that names the claim. A claim without
    joinHMAC is proven by the client's joinMethod. A leaf's daemon does all this by itself; this is for
    trying, and for claims signed elsewhere. Exit status 0: accepted by all.
    """
    prepared = settings.call(settings.command.prepare)
    filed = claims.filed_claim(prepared, name)
    client = filed.client.spec if filed.client is not None else None
    targets = listener.targets(client)
    if not targets:
        raise ConfigError.single(
            prepared.configuration.file,
            f"no SAMEnrollmentClient submits {filed.claim.ref}",
            hint="name the route reflector with --rr-url or --socket",
        )
    answers = settings.run(_submit_all(settings, prepared, filed, listener.connect(targets, client), targets))
    if not output.wrote(SubmissionList(claim=filed.claim.ref, items=tuple(answers))):
        for each in answers:
            click.echo(f"{each.target}: {each.text}", err=not each.accepted)
    if not all(each.accepted for each in answers):
        sys.exit(1)


async def _submit_all(
    settings: Settings,
    prepared: Prepared,
    filed: claims.FiledClaim,
    client: EnrollClient,
    targets: Sequence[str],
) -> Sequence[Submission]:
    source = filed.client.spec.join_token_from if filed.client is not None else None
    unproven = claims.method_of(filed) == NO_JOIN_METHOD or filed.claim.join_hmac
    if unproven or (source is None and _needs_token(prepared, filed)):
        return await asyncio.gather(*(_submit(client, target, filed.claim, None) for target in targets))
    secret = secrets.resolve(source) if source is not None else None
    claim = claims.stamped(filed.claim, SystemClock().now())
    async with claims.proving(prepared, filed, settings.quiet_log()) as prover:
        if prover.described.sam_proof:
            proof = await prover.sign(prover.signing(claim, secret))
            claim = attrs.evolve(claim, join_hmac=proof.join_hmac)
            proving = None
        else:
            proving = partial(_proof, client, prover, claim, secret)
        return await asyncio.gather(*(_submit(client, target, claim, proving) for target in targets))


def _needs_token(prepared: Prepared, filed: claims.FiledClaim) -> bool:
    found = prepared.host.enrollments().get(claims.method_of(filed))
    return found is None or found[1].shared_secret


async def _proof(
    client: EnrollClient, prover: claims.Prover, claim: Claim, secret: str | None, target: str
) -> PresentedProof:
    method = prover.described
    challenge = await client.challenge(target, claim, method.kind) if method.challenges else ""
    proof = await prover.sign(prover.signing(claim, secret, challenge))
    return PresentedProof(method=method.kind, challenge=challenge, proof=proof)


async def _submit(
    client: EnrollClient,
    target: str,
    claim: Claim,
    proving: Callable[[str], Awaitable[PresentedProof]] | None,
) -> Submission:
    try:
        proof = await proving(target) if proving is not None else None
        admission = await client.submit(target, claim, proof)
    except ClaimRejected as error:
        text = f"refused: {without_target(target, error)}"
        if error.reason == PENDING:
            text = f"waits for approval: {without_target(target, error)}"
        elif error.reason:
            text += f" (reason: {error.reason})"
        return Submission(target=target, accepted=False, text=text, reason=error.reason)
    except ProviderError as error:
        return Submission(target=target, accepted=False, text=f"no decision: {without_target(target, error)}")
    end = admission.expires_at
    text = f"accepted until {second_text(end)}" if end is not None else "accepted, without an end"
    return Submission(target=target, accepted=True, text=text, expires_at=end)
