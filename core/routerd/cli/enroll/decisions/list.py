"""`routerd enroll list`: the claims that a route reflector knows of."""

import click

from routerd.cli.enroll.decisions.claim_view import policy_of, why_of
from routerd.cli.share.ask import ask
from routerd.cli.share.output import Output, with_output
from routerd.cli.share.settings import Settings, with_settings
from routerd.cli.share.show import console, table
from routerd.model.report.claims import ClaimList, ClaimReport
from routerd.model.report.phases import CLAIM_PHASES

COLUMNS = ("NAME", "STATE", "LEAF", "POLICY", "CAME FROM", "SINCE", "ENDS", "REASON")


@click.command("list")
@click.option(
    "--state",
    type=click.Choice(CLAIM_PHASES, case_sensitive=False),
    help="Only claims in this state, such as those that wait for approval: --state Pending.",
)
@with_output
@with_settings
def command(settings: Settings, *, state: str | None, output: Output) -> None:
    """List the claims that this route reflector knows of, whatever became of them."""
    items = ask(settings, "/v1/claims", ClaimList).items
    found = [each for each in items if state in (None, each.status.phase)]
    if output.wrote(ClaimList(items=tuple(found))):
        return
    if not found:
        click.echo(f"no claim is {state}" if state else "no claims")
    else:
        console().print(table("", COLUMNS, [_row(each) for each in found]))


def _row(claim: ClaimReport) -> tuple[object, ...]:
    status = claim.status
    return (
        claim.name,
        status.phase,
        status.leaf_id,
        policy_of(claim),
        status.source,
        status.first_seen or status.admitted_at,
        status.expires_at,
        why_of(claim),
    )
