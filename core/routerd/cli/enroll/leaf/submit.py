"""`routerd enroll submit`: a claim brought to route reflectors once, and what each of them said."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

import click

from routerd.cli.enroll.leaf.listener import Listener, with_listener, without_target
from routerd.cli.share.settings import Settings, with_settings
from routerd.cli.share.times import moment
from routerd.config import secrets
from routerd.control.enroll_client import ClaimRejected, EnrollClient
from routerd.errors import ConfigError, ProviderError
from routerd.leaf import signing as claims
from routerd.model.claim import Claim
from routerd.plugins.check import Prepared
from routerd.process.clock import SystemClock

PENDING = "approval-pending"


@click.command("submit")
@click.option("--claim", "name", metavar="NAME", help="The claim of the file; needed when it has several.")
@with_listener
@with_settings
def command(settings: Settings, *, name: str | None, listener: Listener) -> None:
    """Submit a claim of the file, once, and say what became of it.

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
    for target, (accepted, words) in zip(targets, answers, strict=True):
        click.echo(f"{target}: {words}", err=not accepted)
    if not all(accepted for accepted, _ in answers):
        sys.exit(1)


def _signed(settings: Settings, prepared: Prepared, filed: claims.FiledClaim) -> Claim:
    source = filed.client.spec.join_token_from if filed.client is not None else None
    if filed.claim.join_hmac.strip() or source is None:
        return filed.claim
    stamped = claims.stamped(filed.claim, SystemClock().now())
    signing = claims.sign(prepared, stamped, secrets.resolve(source), settings.quiet_log())
    return asyncio.run(signing).claim


async def _submit_all(
    client: EnrollClient, targets: Sequence[str], claim: Claim
) -> Sequence[tuple[bool, str]]:
    return await asyncio.gather(*(_submit(client, target, claim) for target in targets))


async def _submit(client: EnrollClient, target: str, claim: Claim) -> tuple[bool, str]:
    """Return whether the claim was accepted, and the answer in words."""
    try:
        admission = await client.submit(target, claim)
    except ClaimRejected as error:
        words = without_target(target, error)
        if error.reason == PENDING:
            return False, f"waits for approval: {words}"
        return False, f"refused: {words}" + (f" (reason: {error.reason})" if error.reason else "")
    except ProviderError as error:
        return False, f"no decision: {without_target(target, error)}"
    if admission.expires_at is None:
        return True, "accepted, without an end"
    return True, f"accepted until {moment(admission.expires_at)}"
