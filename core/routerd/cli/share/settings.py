"""Options that every command understands, before or after its name."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import attrs
import click

from routerd.cli.share.options import Given, gathered
from routerd.process.directories import RUN, STATE, Directories
from routerd.process.log import Level, Log
from routerd.runtime.invocation import Command

if TYPE_CHECKING:
    from routerd.process.single_run import SingleRun

T = TypeVar("T")

DEFAULT_CONFIG = Path("/etc/routerd/router.yaml")


@attrs.define(kw_only=True)
class Settings:
    """The common options; an option that was not given keeps its default."""

    plugins: tuple[str, ...] | None = None
    config: Path = DEFAULT_CONFIG
    state_dir: Path = STATE
    run_dir: Path = RUN
    lenient: bool = False
    log_format: Literal["human", "json"] = "human"
    log_level: Level = "info"
    _single_run: SingleRun | None = attrs.field(default=None, init=False)

    @property
    def directories(self) -> Directories:
        """Return the directories of the daemon."""
        return Directories(state=self.state_dir, run=self.run_dir)

    @property
    def command(self) -> Command:
        """Return the settings that start a daemon."""
        return Command(
            config=self.config, directories=self.directories, plugins=self.plugins, lenient=self.lenient
        )

    @property
    def log(self) -> Log:
        """Return a log on standard error."""
        return Log(format=self.log_format, level=self.log_level)

    def quiet_log(self) -> Log:
        """Return a log for commands that print a result: warnings and errors only."""
        return Log(format=self.log_format, level="warning" if self.log_level == "info" else self.log_level)

    # --- work that may call plugins --------------------------------------------------------------------

    def run(self, work: Coroutine[Any, Any, T]) -> T:  # Any: unused by a task
        """Return the result of `work` in an event loop; no plugin keeps the command from its end."""
        return self._protected().run(work)

    def call(self, work: Callable[[], T]) -> T:
        """Return the result of a function that loads plugins, under the same protection."""
        return self._protected().call(work)

    def _protected(self) -> SingleRun:
        if self._single_run is None:
            from routerd.plugins.installed import owners  # noqa: PLC0415 - most commands run no plugin
            from routerd.process.single_run import SingleRun  # noqa: PLC0415 - as above

            self._single_run = SingleRun(self.quiet_log(), owners())
        return self._single_run

    def leave(self, status: int) -> None:
        """End the process with `status` if what a plugin has left would keep it; else return."""
        if self._single_run is not None:
            self._single_run.leave(status)


def _split(_: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    if not names and value.strip():
        raise click.BadParameter("give names separated by commas", param=parameter)
    return names


_OPTIONS = (
    click.option(
        "--plugins",
        callback=_split,
        metavar="A,B,...",
        help="The complete list of plugins that may run; by default `plugins:` of the file.",
    ),
    click.option(
        "--config",
        "-c",
        type=click.Path(path_type=Path, dir_okay=False),
        help=f"The configuration file; {DEFAULT_CONFIG} by default.",
    ),
    click.option(
        "--state-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help=f"The directory of admitted claims and the journal; {STATE} by default.",
    ),
    click.option(
        "--run-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help=f"The directory of sockets; {RUN} by default.",
    ),
    click.option(
        "--lenient/--strict", default=None, help="Treat unknown fields of the file as warnings, or as errors."
    ),
)
_LOG_OPTIONS = (
    click.option("--log-format", type=click.Choice(["human", "json"]), help="The format of the log."),
    click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        help="The lowest level that is logged.",
    ),
)


def _settings(given: Given) -> Settings:
    settings = click.get_current_context().ensure_object(Settings)
    for name, value in given.items():
        if value is not None:
            setattr(settings, name, value)
    return settings


with_settings = gathered("settings", (*_OPTIONS, *_LOG_OPTIONS), _settings)
"""Adds the common options to a command, which gets them as `Settings` in its first argument."""
