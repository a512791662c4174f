"""`routerd actions`: changes in clouds, pending and made."""

import click

from routerd.cli.share.lazy import lazy_group

COMMANDS = {name: name for name in ("list", "show", "approve", "undo")}


@click.command("actions", cls=lazy_group(__name__, COMMANDS))
def command() -> None:
    """Show, approve and undo changes in clouds.

    The id of a pending change has letters, the id of a made one is a number. list and show also work
    without a daemon; approve and undo need a running one.
    """
