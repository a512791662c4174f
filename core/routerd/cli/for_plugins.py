"""What a command of a plugin uses of the command line: the common options, and the answers of a daemon.

::

    @click.command("verify")
    @with_daemon
    def verify(daemon: Daemon) -> None:
        click.echo(daemon.ask("fabric_policy", "verify"))

Added in 1.0.
"""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import cast

import attrs

from routerd.cli.share.settings import Settings, with_settings
from routerd.control.client import request
from routerd.model.json_value import JSONValue

__all__ = ["Daemon", "with_daemon"]


@attrs.frozen
class Daemon:
    """The daemon that the common options of a command name, by the path of its admin socket.

    Added in 1.0.
    """

    socket: Path

    def ask(self, plugin: str, path: str, body: dict[str, JSONValue] | None = None) -> dict[str, JSONValue]:
        """Return what a control route of a plugin answers, with a `body` to a POST, else to a GET.

        The answer of the route must be a JSON object. `ControlError` when no daemon answers or it refuses,
        `ConfigError` when the route does.
        """
        target = f"/v1/plugins/{plugin}/{path.lstrip('/')}"
        return request(self.socket, "GET" if body is None else "POST", target, body=body)


def with_daemon(command: Callable[..., None]) -> Callable[..., None]:
    """Add the common options to a command, which gets a `Daemon` as its first argument.

    Added in 1.0.
    """

    @wraps(command)
    def run(**given: object) -> None:
        settings = cast("Settings", given.pop("settings"))
        command(Daemon(settings.directories.admin_socket), **given)

    return with_settings(run)
