"""`routerd lab`: the commands."""

import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import click
from rich.console import Console

from routerd.errors import RouterdError
from routerd_lab import launch, patience, screen
from routerd_lab.clouds_run import trust
from routerd_lab.events import Event, Verdict
from routerd_lab.exchange import exchanged
from routerd_lab.graph import draw
from routerd_lab.requirements import missing
from routerd_lab.routers import RouterFiles, from_examples
from routerd_lab.supervisor import Plan
from routerd_lab.topology import TOPOLOGIES

_RUN_DIR = click.option(
    "--run-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where files go; default /tmp/routerd-TOPOLOGY-TIME for run, /tmp/routerd-lab-UID for up.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON, nothing else.")
_PATIENCE = click.option(
    "--patience",
    type=click.FloatRange(min=1),
    default=1,
    envvar=patience.VARIABLE,
    metavar="FACTOR",
    callback=lambda _context, _option, factor: os.environ.update({patience.VARIABLE: str(factor)}),
    expose_value=False,
    help="Multiply every deadline by this factor, for a slow machine.",
)
_AS_ROOT = click.option(
    "--as-root",
    is_flag=True,
    help="Make no user namespace; only then the kernel itself can carry fou tunnels.",
)
_TRANSPORT = click.option(
    "--transport",
    default="",
    metavar="MODE",
    help="Tunnels of this mode inside of WireGuard, by the installed plugin that provides it.",
)
_JOIN = click.option(
    "--join",
    default="",
    metavar="METHOD",
    help="This join method of policy and clients, by the installed plugin that provides it.",
)
_TOPOLOGY = click.argument("topology", type=click.Choice(sorted(TOPOLOGIES)), default="fullmesh")


@click.group()
def lab() -> None:
    """Build a whole fabric on this machine and check it; needs no root and leaves nothing behind."""


@lab.command()
@_TOPOLOGY
@_RUN_DIR
@click.option("--keep", is_flag=True, help="Leave the lab running after the verdict; end it with `lab down`.")
@_PATIENCE
@_AS_ROOT
@_TRANSPORT
@_JOIN
@_JSON
def run(
    topology: str,
    run_dir: Path | None,
    *,
    keep: bool,
    as_root: bool,
    transport: str,
    join: str,
    as_json: bool,
) -> None:
    """Bring a fabric up, check every assertion, write the evidence, and take it down."""
    files = exchanged(from_examples(TOPOLOGIES[topology]), transport=transport, join=join)
    place = run_dir or launch.default_run_dir(topology)
    _start(topology, place, files, hold=keep, as_root=as_root, as_json=as_json)


@lab.command()
@_TOPOLOGY
@_RUN_DIR
@_PATIENCE
@_AS_ROOT
@_TRANSPORT
@_JOIN
@_JSON
def up(
    topology: str, run_dir: Path | None, *, as_root: bool, transport: str, join: str, as_json: bool
) -> None:
    """Bring a fabric up and leave it running in the background."""
    files = exchanged(from_examples(TOPOLOGIES[topology]), transport=transport, join=join)
    place = run_dir or launch.standing_run_dir()
    if run_dir is None and place.exists():
        _refuse_running(place)
        shutil.rmtree(place)
    _start(topology, place, files, hold=True, as_root=as_root, as_json=as_json)


@lab.command()
@_RUN_DIR
@_PATIENCE
@_JSON
def status(run_dir: Path | None, *, as_json: bool) -> None:
    """Check a running fabric again: sessions, routes, clouds, pairs."""
    place = run_dir or launch.standing_run_dir()
    sys.exit(_follow(_guarded(launch.ask(place)), as_json=as_json, run_dir=place))


@lab.command("exec", context_settings={"ignore_unknown_options": True})
@_RUN_DIR
@click.argument("node")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(run_dir: Path | None, node: str, command: tuple[str, ...]) -> None:
    """Run COMMAND in a machine of a running fabric, such as `exec aws-leaf -- ip route`.

    COMMAND trusts the fabric's clouds: curl and `routerd doctor cloud` reach them by their real names.
    """
    place = run_dir or launch.standing_run_dir()
    try:
        argv = launch.enter_argv(place, node, command)
    except RouterdError as exc:
        raise click.ClickException(str(exc)) from exc
    os.environ.update(trust(place.resolve()))
    os.execvp(argv[0], argv)  # noqa: S606 - becoming the command is the point


@lab.command()
@_RUN_DIR
def down(run_dir: Path | None) -> None:
    """End a running fabric; its files stay in the run directory."""
    try:
        launch.end(run_dir or launch.standing_run_dir())
    except RouterdError as exc:
        raise click.ClickException(str(exc)) from exc


@lab.command()
@_TOPOLOGY
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="File to write.")
def graph(topology: str, output: Path | None) -> None:
    """Draw a topology as SVG."""
    text = draw(TOPOLOGIES[topology])
    if output is None:
        click.echo(text)
    else:
        output.write_text(text, encoding="utf-8")


def _refuse_running(place: Path) -> None:
    try:
        launch.find(place)
    except RouterdError:
        return
    raise click.ClickException(f"{place}: a lab is running already; end it with `routerd lab down`")


def _start(
    topology: str,
    run_dir: Path,
    files: Mapping[str, RouterFiles],
    *,
    hold: bool,
    as_root: bool,
    as_json: bool,
) -> None:
    """Start a lab, show it, and exit with its verdict."""
    if as_root and os.geteuid():
        raise click.ClickException("--as-root: you are not root; run routerd as root or leave the option out")
    if lacking := missing():
        raise click.ClickException("; ".join(lacking))
    try:
        launch.prepare(run_dir)
    except RouterdError as exc:
        raise click.ClickException(str(exc)) from exc
    plan = Plan(
        topology=TOPOLOGIES[topology],
        run_dir=run_dir.resolve(),
        files=files,
        begun=launch.own_start(),
        hold=hold,
        as_root=as_root,
    )
    running = launch.Running(plan)
    try:
        code = _follow(running.events(), as_json=as_json, run_dir=run_dir)
    except KeyboardInterrupt:
        running.stop()
        sys.exit(130)
    if not hold:
        running.wait()
    sys.exit(code)


def _guarded(events: Iterable[Event]) -> Iterable[Event]:
    try:
        yield from events
    except RouterdError as exc:
        raise click.ClickException(str(exc)) from exc


def _follow(events: Iterable[Event], *, as_json: bool, run_dir: Path) -> int:
    """Show all events; return 0 only if the verdict says that every assertion passed."""
    console = Console(stderr=False)
    shown: screen.Screen | None = None
    verdict: Verdict | None = None
    try:
        for event in events:
            shown = shown or screen.choose(console, as_json=as_json)
            if isinstance(event, Verdict):
                verdict = event
            else:
                shown.show(event)
    finally:
        if shown is not None:
            shown.finish(verdict)
    if verdict is None:
        raise click.ClickException(f"{run_dir}: the lab ended without a verdict; read {run_dir / 'lab.log'}")
    return 0 if verdict.passed else 1
