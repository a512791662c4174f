"""A group that imports a command when it is used, so that a short command stays fast."""

from collections.abc import Mapping
from importlib import import_module
from typing import ClassVar

import click

Commands = Mapping[str, tuple[str, str]]
"""Commands by name: the module of each, which holds it as `command`, and its line in the help."""


class LazyGroup(click.Group):
    """A group of commands; its help imports none of them."""

    commands_by_name: ClassVar[Commands]

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order of the help text."""
        return list(self.commands_by_name)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; none when the group has no such name."""
        if cmd_name not in self.commands_by_name:
            return None
        command: click.Command = import_module(self.commands_by_name[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands; only a command of a plugin is asked for its line."""
        names = self.list_commands(ctx)
        limit = formatter.width - 6 - max(map(len, names))
        rows = []
        for name in names:
            line = self.commands_by_name[name][1] if name in self.commands_by_name else ""
            command = click.Command(name, help=line) if line else self.get_command(ctx, name)
            if command is not None:
                rows.append((name, command.get_short_help_str(limit)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def lazy_group(package: str, names: Commands) -> type[LazyGroup]:
    """Return the class of a group; the modules of `names` are relative to `package`."""
    absolute = {name: (f"{package}.{module}", line) for name, (module, line) in names.items()}
    return type("LazyGroup", (LazyGroup,), {"commands_by_name": absolute})
