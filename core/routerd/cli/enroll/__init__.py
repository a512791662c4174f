"""`routerd enroll`: claims of leaves, made, submitted and decided on."""

import click

from routerd.cli.share.lazy import Commands, lazy_group

COMMANDS: Commands = {
    "leaf-config": ("leaf.leaf_config", "Print a complete configuration file for a leaf."),
    "sign": ("leaf.sign", "Print the joinHMAC of a claim of the file, made with its policy's join token."),
    "submit": ("leaf.submit", "Submit a claim of the file once, and print each answer."),
    "list": (
        "decisions.list",
        "List the claims that this route reflector knows of, whatever became of them.",
    ),
    "show": (
        "decisions.show",
        "Show one claim: what it asks for, what became of it, and what was decided lately.",
    ),
    "approve": (
        "decisions.approve",
        "Let a claim join that waits for approval, was rejected, or whose leaf was revoked.",
    ),
    "reject": (
        "decisions.reject",
        "Refuse a claim that waits for approval, now and whenever it asks again; approve undoes it.",
    ),
    "revoke": ("decisions.revoke", "End a claim permanently: its tunnel, session and routes go at once."),
    "log": (
        "decisions.log",
        "Show the decisions on claims, oldest first: when, what, which claim, from where, why.",
    ),
}


@click.command("enroll", cls=lazy_group(__name__, COMMANDS))
def command() -> None:
    """Make, submit and decide on the claims by which leaves join.

    leaf-config, sign and submit run on a leaf or on the machine that prepares it. The others ask the
    running daemon of a route reflector; revoke also works from elsewhere.
    """
