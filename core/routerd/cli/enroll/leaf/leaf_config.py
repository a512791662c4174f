"""`routerd enroll leaf-config`: the whole file of a leaf from a few options."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import attrs
import click

from routerd import config
from routerd.admission.form import check_form
from routerd.cli.enroll.leaf.leaf_document import claim_of, document, inner_end
from routerd.cli.enroll.leaf.leaf_options import OPTIONS, Answers
from routerd.cli.enroll.leaf.secret import Secret, with_secret
from routerd.cli.share.options import all_of
from routerd.cli.share.settings import Settings, with_settings
from routerd.errors import ConfigError, ControlError, EnrollmentRefused
from routerd.leaf import signing as claims
from routerd.model.specs import SAMEnrollmentClaimSpec
from routerd.model.specs.claim_codec import claim_from_spec
from routerd.model.specs.enrollment import DEFAULT_JOIN_METHOD, NO_JOIN_METHOD
from routerd.plugins.check import prepare_text


@click.command("leaf-config")
@all_of(OPTIONS)
@with_secret
@with_settings
def command(
    settings: Settings, *, secret: Secret | None, output: Path | None, force: bool, **options: object
) -> None:
    """Print a complete configuration file for a leaf.

    With --secret-file or --secret-env the leaf is given the join token, by reference, and signs and
    renews its claim itself. With --secret the claim is signed here and now, with --join-hmac it was
    signed elsewhere; without any of them `routerd enroll sign` signs it afterwards. A claim that is
    signed once cannot be renewed.

    With --join-method the leaf proves its claim by another method than the token; its options are
    --join-option, and a secret of it is --secret-file or --secret-env.

    Options that may be repeated also take a list with commas.
    """
    answers = Answers(**options)
    _check_answers(answers, secret)
    claim = claim_of(settings, answers, secret)
    text = document(settings, answers, claim, secret)
    if claim.join_nonce and not claim.join_hmac and secret is not None:
        _check(text)
        claim = _signed(settings, claim, text, secret)
        text = document(settings, answers, claim, secret)
    _check(text)
    for warning in _warnings(answers, claim):
        click.echo(f"warning: {warning}", err=True)
    if output is None:
        click.echo(text, nl=False)
    else:
        _write(output, text, force=force)
        click.echo(f"{output}: written; next: routerd validate --config {output}", err=True)


def _check_answers(answers: Answers, secret: Secret | None) -> None:
    if answers.join_hmac is not None and secret is not None:
        raise click.UsageError("--join-hmac is a signature already; leave the secret out")
    once = answers.join_nonce is not None or answers.join_timestamp is not None
    if secret is not None and secret.source is not None and once:
        raise click.UsageError(
            "--join-nonce and --join-timestamp are for a claim that is signed once; with --secret-file or "
            "--secret-env the leaf signs its claim itself"
        )
    method = answers.join_method
    if method != DEFAULT_JOIN_METHOD:
        signed = answers.join_hmac is not None or (secret is not None and secret.source is None)
        if signed or once:
            raise click.UsageError(
                "--secret, --join-hmac, --join-nonce and --join-timestamp are for join method "
                f"{DEFAULT_JOIN_METHOD}; with {method} the leaf proves each submission itself"
            )
    if method == NO_JOIN_METHOD and (secret is not None or answers.join_options):
        raise click.UsageError(
            f"join method {NO_JOIN_METHOD} proves nothing; leave its secret and options out"
        )
    if (answers.placement_group is None) != (answers.placement_priority is None):
        raise click.UsageError("--placement-group and --placement-priority go together")
    if answers.placement_group is not None and not answers.owned_address:
        raise click.UsageError(
            "--placement-group needs --owned-address: the addresses that the site's leaves share"
        )


def _signed(
    settings: Settings, claim: SAMEnrollmentClaimSpec, text: str, secret: Secret
) -> SAMEnrollmentClaimSpec:
    """Return the claim with its signature, by the join method of the leaf's own plugins."""
    prepared = settings.call(partial(prepare_text, text, file="leaf-config"))
    filed = claims.filed_claim(prepared, claim.leaf_id)
    signing = claims.sign(prepared, filed, secret.resolve(), settings.quiet_log())
    return attrs.evolve(claim, join_hmac=settings.run(signing).claim.join_hmac)


# --- checking and writing --------------------------------------------------------------------------------


def _check(text: str) -> None:
    """Raise the error that a route reflector or `routerd validate` would raise for the file."""
    try:
        configuration = config.load_text(text, file="leaf-config")
    except ConfigError as error:
        raise ConfigError(attrs.evolve(problem, line=0) for problem in error.problems) from error
    for resource in configuration.of(SAMEnrollmentClaimSpec):
        try:
            check_form(claim_from_spec(resource.id.name, resource.spec))
        except EnrollmentRefused as error:
            raise ConfigError.single("leaf-config", str(error)) from error


def _warnings(answers: Answers, claim: SAMEnrollmentClaimSpec) -> Iterator[str]:
    inner = inner_end(answers)
    if not any(inner in prefix for prefix in answers.endpoint_prefix):
        listed = ", ".join(map(str, answers.endpoint_prefix))
        yield f"endpoint {inner} is outside of {listed}; the route reflector will refuse it"
    for owned in answers.owned_address:
        if not any(owned in prefix for prefix in answers.mobility_prefix):
            yield f"owned address {owned} is outside of every mobility prefix; the reflector may refuse it"
    if claim.direct_mesh or answers.direct_local_preference != 200:
        yield "direct tunnels: routerd does not make them, whatever the file says"
    if claim.join_nonce and not claim.join_hmac:
        yield "the claim is not signed; give a secret, or run `routerd enroll sign`"
    if answers.on_loopback and not answers.owned_address:
        yield "--on-loopback has no address to add; give --owned-address"
    for url in answers.bootstrap_endpoint:
        if url.startswith("http://") and (answers.control_api_token_file or answers.control_api_token_env):
            yield f"{url}: the bearer token is sent in the clear; use https"


def _write(path: Path, text: str, *, force: bool) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        handle = os.open(draft if force else path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        if force:
            draft.replace(path)
    except FileExistsError as error:
        raise ControlError(f"{path}: exists, not changed; to replace it, use --force") from error
    except OSError as error:
        raise ControlError(f"{path}: not written; {error.strerror}") from error
