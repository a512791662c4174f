"""`routerd enroll sign`: the proof of a claim, and what it proves."""

import click

from routerd.cli.enroll.leaf.secret import Secret, with_secret
from routerd.cli.share.output import Output, with_output
from routerd.cli.share.settings import Settings, with_settings
from routerd.errors import ConfigError, PermanentError
from routerd.leaf import signing as claims
from routerd.model.report.claims import ClaimSignature


@click.command("sign")
@click.option("--claim", "name", metavar="NAME", help="The claim of the file; needed when it has several.")
@click.option("--show-payload", is_flag=True, help="Also print the signed text.")
@with_output
@with_secret
@with_settings
def command(
    settings: Settings, *, name: str | None, show_payload: bool, secret: Secret | None, output: Output
) -> None:
    """Print the joinHMAC of a claim of the file, made with its policy's join token.

    Without an option that names it, the token is joinTokenFrom of the SAMEnrollmentClient. The
    claim is signed as it stands in the file; every later change of it needs a new signature.
    """
    prepared = settings.call(settings.command.prepare)
    filed = claims.filed_claim(prepared, name)
    claims.check_signable(prepared, filed)
    if secret is None:
        source = filed.client.spec.join_token_from if filed.client is not None else None
        if source is None:
            raise ConfigError.single(
                prepared.configuration.file,
                f"no SAMEnrollmentClient has a joinTokenFrom for {filed.claim.ref}",
                hint="name the token with --secret-file or --secret-env",
            )
        secret = Secret(source=source)
    signature = settings.run(claims.sign(prepared, filed, secret.resolve(), settings.quiet_log()))
    for field, value in (
        ("joinNonce", filed.claim.join_nonce),
        ("joinTimestamp", filed.claim.join_timestamp),
    ):
        if not value.strip():
            click.echo(f"warning: {filed.claim.ref} has no {field}: a route reflector refuses it", err=True)
    if show_payload and signature.payload is None:
        raise PermanentError("the join method of this file does not show what it signs")
    payload = (
        signature.payload.decode(errors="replace") if show_payload and signature.payload is not None else None
    )
    proof = ClaimSignature(claim=filed.claim.ref, join_hmac=signature.claim.join_hmac, payload=payload)
    if output.wrote(proof):
        return
    click.echo(proof.join_hmac)
    if payload is not None:
        click.echo(payload)
