"""`routerd enroll`: claims of leaves, made, submitted and decided on.

One module per command, as for `routerd` itself, imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module

import click

COMMANDS = ("leaf-config", "sign", "submit", "list", "show", "approve", "reject", "revoke", "log")


class _Group(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"{__name__}.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command


@click.command("enroll", cls=_Group)
def command() -> None:
    """Make, submit and decide on the claims by which leaves join.

    leaf-config, sign and submit are for a leaf, or for who prepares one; the others for a route
    reflector, on which they ask the running daemon. revoke also works from elsewhere.
    """
