"""`routerd actions`: changes in clouds, pending and made."""

import click

from routerd.cli.share.lazy import Commands, lazy_group

COMMANDS: Commands = {
    "list": (
        "list",
        "List the changes of clouds that routerd has not made yet, and the latest that it made.",
    ),
    "show": ("show", "Show one change: its id from the first part of list, or its number from the second."),
    "approve": (
        "approve",
        "Let the changes IDS be made, once, and release keys that are held after an undo.",
    ),
    "undo": (
        "undo",
        "Restore exactly what was there before the change NUMBER, and leave it alone from then on.",
    ),
}


@click.command("actions", cls=lazy_group(__name__, COMMANDS))
def command() -> None:
    """Show, approve and undo changes in clouds.

    The id of a pending change has letters, the id of a made one is a number. list and show also work
    without a daemon; approve and undo need a running one.
    """
