"""A group that imports a command when it is used, so that a short command stays fast."""

from collections.abc import Mapping
from importlib import import_module
from typing import ClassVar

import click


class LazyGroup(click.Group):
    """A group of commands by module; each module holds its command under the name `command`."""

    modules: ClassVar[Mapping[str, str]]

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order of the help text."""
        return list(self.modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; none when the group has no such name."""
        if cmd_name not in self.modules:
            return None
        command: click.Command = import_module(self.modules[cmd_name]).command
        return command


def lazy_group(package: str, names: Mapping[str, str]) -> type[LazyGroup]:
    """Return the class of a group; `names` has the module of each command, below `package`."""
    modules = {name: f"{package}.{module}" for name, module in names.items()}
    return type("LazyGroup", (LazyGroup,), {"modules": modules})
