"""`routerd enroll submit`: submit a claim to route reflectors once, and print each answer."""

import asyncio
import sys
from collections.abc import Sequence

import click

from routerd.cli.enroll.leaf.listener import Listener, with_listener, without_target
from routerd.cli.share.output import Output, with_output
from routerd.cli.share.settings import Settings, with_settings
from routerd.config import secrets
from routerd.control.enroll_client import ClaimRejected, EnrollClient
from routerd.errors import ConfigError, ProviderError
from routerd.leaf import signing as claims
from routerd.model.claim import Claim
from routerd.model.moment import second_text
from routerd.model.report.claims import Submission, SubmissionList
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
    joinHMAC is signed with the client's joinTokenFrom. A leaf's daemon does all this by itself;
    this is for trying, and for claims signed elsewhere. Exit status 0: accepted by all.
    """
    prepared = settings.command.prepare()
    filed = claims.filed_claim(prepared, name)
    client = filed.client.spec if filed.client is not None else None
    targets = listener.targets(client)
    if not targets:
        raise ConfigError.single(
            prepared.configuration.file,
            f"no SAMEnrollmentClient submits {filed.claim.ref}",
            hint="name the route reflector with --rr-url or --socket",
        )
    claim = _signed(settings, prepared, filed)
    answers = asyncio.run(_submit_all(listener.connect(targets, client), targets, claim))
    if not output.wrote(SubmissionList(claim=claim.ref, items=tuple(answers))):
        for each in answers:
            click.echo(f"{each.target}: {each.text}", err=not each.accepted)
    if not all(each.accepted for each in answers):
        sys.exit(1)


def _signed(settings: Settings, prepared: Prepared, filed: claims.FiledClaim) -> Claim:
    source = filed.client.spec.join_token_from if filed.client is not None else None
    if filed.claim.join_hmac or source is None:
        return filed.claim
    stamped = claims.stamped(filed.claim, SystemClock().now())
    signing = claims.sign(prepared, stamped, secrets.resolve(source), settings.quiet_log())
    return asyncio.run(signing).claim


async def _submit_all(client: EnrollClient, targets: Sequence[str], claim: Claim) -> Sequence[Submission]:
    return await asyncio.gather(*(_submit(client, target, claim) for target in targets))


async def _submit(client: EnrollClient, target: str, claim: Claim) -> Submission:
    try:
        admission = await client.submit(target, claim)
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
