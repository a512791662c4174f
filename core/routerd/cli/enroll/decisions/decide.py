"""What `approve`, `reject` and `revoke` have in common: one decision through the admin socket."""

from __future__ import annotations

from urllib.parse import quote

import click

from routerd.cli.enroll.decisions.claim_view import phase_of, word
from routerd.cli.share.ask import ask
from routerd.cli.share.settings import Settings
from routerd.control.ports import Decision
from routerd.model.claim import bare_name


def decide(settings: Settings, verb: Decision, name: str, reason: str) -> None:
    """Have the daemon decide, and say what became of the claim."""
    wanted = bare_name(name)
    path = f"/v1/claims/{quote(wanted, safe='')}/{verb}"
    answer = ask(settings, path, "POST", body={"reason": reason})
    words = "; ".join(text for text in (word(answer, "message"),) if text and text != reason)
    click.echo(f"{wanted}: {phase_of(answer) or 'done'}" + (f": {words}" if words else ""))
