"""`routerd enroll revoke NAME`: end a claim for good, here or at a route reflector elsewhere."""

from __future__ import annotations

import asyncio

import click

from routerd.cli.enroll.decisions.decide import decide
from routerd.cli.enroll.leaf.listener import Listener, with_listener
from routerd.cli.share.settings import Settings, with_settings
from routerd.model.claim import bare_name


@click.command("revoke")
@click.argument("name")
@click.option("--reason", default="", metavar="TEXT", help="Why; the leaf is told, and it stands in the log.")
@with_listener
@with_settings
def command(settings: Settings, *, name: str, reason: str, listener: Listener) -> None:
    """End a claim for good: its tunnel, session and routes go at once.

    The leaf stays out, whatever it signs, until somebody approves it again. Without --rr-url or
    --socket the daemon of this host is told; a listener takes a revocation only from who shows a
    bearer token or a certificate.
    """
    if listener.target is None:
        decide(settings, "revoke", name, reason)
        return
    target = listener.target
    asyncio.run(listener.connect((target,)).revoke(target, bare_name(name), reason))
    click.echo(f"{bare_name(name)}: Revoked at {target}")
