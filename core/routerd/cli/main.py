"""The command `routerd` itself: without a subcommand it is the daemon."""

import os
import sys
from typing import ClassVar

import click

from routerd import __version__
from routerd.cli.share.lazy import Commands, LazyGroup
from routerd.cli.share.settings import Settings, with_settings
from routerd.errors import ConfigError, PluginError, RouterdError

COMMANDS: Commands = {
    "actions": ("actions", "Show, approve and undo changes in clouds."),
    "apply": ("act.apply", "Apply the configuration once, without a daemon."),
    "doctor": ("act.doctor", "Find out what keeps this router from working."),
    "down": (
        "act.down",
        "Remove what routerd made: sessions, routes, tunnels, rules; restore settings and clouds.",
    ),
    "enroll": ("enroll", "Make, submit and decide on the claims by which leaves join."),
    "explain": (
        "look.explain",
        "Show step by step where packets to ADDRESS go: claim, BGP, kernel, tunnel, cloud.",
    ),
    "get": ("look.get", "Show the resources of a kind, or one resource; `all` shows every kind."),
    "metrics": (
        "look.metrics",
        "Print metrics in the text format of Prometheus, such as for node_exporter's textfile collector.",
    ),
    "peers": ("look.peers", "Show BGP sessions and the peers of encrypting transports."),
    "plan": ("act.plan", "Show what routerd would change, and change nothing."),
    "plugins": (
        "act.plugins",
        "List plugins: installed, enabled, the API each was written for, what each provides.",
    ),
    "reload": ("act.reload", "Make the daemon read its file again."),
    "retry": (
        "act.retry",
        "Make the daemon drop its pauses, read every table and retry every change at once.",
    ),
    "routes": ("look.routes", "Show the learned routes."),
    "status": ("look.status", "Show whether the router is ready, and its parts."),
    "validate": ("act.validate", "Check a configuration file and everything that it needs; change nothing."),
}


class _Group(LazyGroup):
    """Built-in commands by module, then those of plugins.

    A command of a plugin is there when the plugin is on the allow-list, when its own name is the plugin's,
    or when the distribution names it as the plugin's: to type `routerd lab` is to allow the plugin `lab`.
    """

    commands_by_name: ClassVar[Commands] = {
        name: (f"routerd.cli.{module}", line) for name, (module, line) in COMMANDS.items()
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *sorted(command.name or "" for command in self._added(ctx))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            return super().get_command(ctx, cmd_name)
        return next((each for each in self._added(ctx, cmd_name) if each.name == cmd_name), None)

    def _added(self, ctx: click.Context, name: str = "") -> list[click.Command]:
        allowed = list(ctx.params.get("plugins") or ())
        if not name and not allowed:
            return []
        from routerd.plugins.host import PluginHost  # noqa: PLC0415 - few starts need a plugin's command
        from routerd.plugins.installed import adding  # noqa: PLC0415 - as above

        if name:
            owners = adding(name)
            if not set(owners) & set(allowed):
                if len(owners) > 1:
                    listed = " and ".join(owners)
                    raise PluginError(f"command {name}: {listed} add it; name one of them with --plugins")
                allowed += owners
        return [command for plugin in PluginHost.load(allowed).plugins for command in plugin.commands]


@click.group(
    cls=_Group, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="routerd")
@with_settings
def routerd(settings: Settings) -> None:
    """Run the router in the foreground, or ask a running one with a command."""
    if click.get_current_context().invoked_subcommand is None:
        import linecache  # noqa: PLC0415 - commands start faster without it and without the daemon

        from routerd.runtime.daemon import run  # noqa: PLC0415 - as above

        # attrs keeps the source of each method that it makes for debuggers: 1 MB for as long as we run.
        linecache.clearcache()

        run(settings.command, settings.log)


def main() -> None:
    """Run the command line; every expected failure is a message and an exit status.

    Status 2 is for a mistake of the operator in a file or an option, 1 for everything else
    (and `plan` uses 1 for both, because its 2 means that something would change).
    """
    settings = Settings()
    try:
        status = routerd.main(prog_name="routerd", standalone_mode=False, obj=settings)
    except click.exceptions.Exit as error:
        status = error.exit_code
    except click.Abort:
        status = 130
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (ConfigError, PluginError) as error:
        status = _show_problems(error)
    except RouterdError as error:
        click.echo(f"routerd: {error}", err=True)
        status = 1
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); Python must not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    except SystemExit as error:
        status = _status_of(error)
    except Exception as error:  # noqa: BLE001 - a defect, which Python would show; the process ends all the same
        sys.excepthook(type(error), error, error.__traceback__)
        status = 1
    status = status if isinstance(status, int) else 0
    settings.leave(status)
    sys.exit(status)


def _status_of(error: SystemExit) -> int:
    """Return the status of a `sys.exit`, which prints a text as Python does."""
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    click.echo(str(error.code), err=True)
    return 1


def _show_problems(error: ConfigError | PluginError) -> int:
    if isinstance(error, PluginError):
        for line in str(error).splitlines():
            click.echo(f"routerd: {line}", err=True)
        return 2
    for problem in error.problems:
        click.echo(str(problem), err=True)
    errors = sum(problem.severity == "error" for problem in error.problems)
    count = "1 problem" if errors == 1 else f"{errors} problems"
    click.echo(f"routerd: {count}; nothing was changed", err=True)
    return 2
