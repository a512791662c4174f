"""`routerd enroll`: claims of leaves, made, submitted and decided on."""

import click

from routerd.cli.share.lazy import lazy_group

COMMANDS = {
    "leaf-config": "leaf.leaf_config",
    "sign": "leaf.sign",
    "submit": "leaf.submit",
    "list": "decisions.list",
    "show": "decisions.show",
    "approve": "decisions.approve",
    "reject": "decisions.reject",
    "revoke": "decisions.revoke",
    "log": "decisions.log",
}


@click.command("enroll", cls=lazy_group(__name__, COMMANDS))
def command() -> None:
    """Make, submit and decide on the claims by which leaves join.

    leaf-config, sign and submit run on a leaf or on the machine that prepares it. The others ask the
    running daemon of a route reflector; revoke also works from elsewhere.
    """
