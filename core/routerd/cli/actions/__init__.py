"""`routerd actions`: changes of clouds, those that wait and those that were made.

One module per command, as for `routerd` itself, imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module

import click

COMMANDS = ("list", "show", "approve", "undo")


class _Group(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"{__name__}.{cmd_name}")
        command: click.Command = module.command
        return command


@click.command("actions", cls=_Group)
def command() -> None:
    """See, approve and undo what routerd changes in clouds.

    A change that waits has an id of letters, one that was made a number. list and show also work
    while no daemon runs; approve and undo ask the running one.
    """
