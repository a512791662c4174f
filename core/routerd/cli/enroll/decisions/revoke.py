"""`routerd enroll revoke NAME`: end a claim for good, here or at a route reflector elsewhere."""

import click

from routerd.cli.enroll.decisions.decide import decide
from routerd.cli.enroll.leaf.listener import Listener, with_listener
from routerd.cli.share.settings import Settings, with_settings
from routerd.model.names import Ref


@click.command("revoke")
@click.argument("name")
@click.option("--reason", default="", metavar="TEXT", help="The reason, for the leaf and for the log.")
@with_listener
@with_settings
def command(settings: Settings, *, name: str, reason: str, listener: Listener) -> None:
    """End a claim permanently: its tunnel, session and routes go at once.

    The leaf stays out, whatever it signs, until an operator approves it. Without --rr-url or --socket
    the daemon of this host revokes the claim. A listener takes a revocation only from a client with a
    bearer token or a certificate.
    """
    if listener.target is None:
        decide(settings, "revoke", name, reason)
        return
    import asyncio  # noqa: PLC0415 - not for the daemon of this host

    target = listener.target
    asyncio.run(listener.connect((target,)).revoke(target, Ref.parse(name).name, reason))
    click.echo(f"{Ref.parse(name).name}: Revoked at {target}")
