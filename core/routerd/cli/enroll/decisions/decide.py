"""What `approve`, `reject` and `revoke` have in common: one decision through the admin socket."""

from urllib.parse import quote

import click

from routerd.cli.share.ask import ask
from routerd.cli.share.settings import Settings
from routerd.control.ports import Decision
from routerd.model.names import Ref
from routerd.model.report.claims import ClaimDecision


def decide(settings: Settings, verb: Decision, name: str, reason: str) -> None:
    """Have the daemon decide, and say what became of the claim."""
    wanted = Ref.parse(name).name
    path = f"/v1/claims/{quote(wanted, safe='')}/{verb}"
    answer = ask(settings, path, ClaimDecision, "POST", body={"reason": reason})
    words = answer.message if answer.message != reason else ""
    click.echo(f"{wanted}: {answer.phase}" + (f": {words}" if words else ""))
