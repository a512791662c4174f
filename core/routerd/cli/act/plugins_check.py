"""`routerd plugins check DISTRIBUTION`: which grade a plugin reaches, and what it lacks."""

import sys
from pathlib import Path

import click

from routerd.cli.share.output import Output, with_output
from routerd.cli.share.show import console, table
from routerd.errors import PluginError
from routerd.model.report.checks import PluginCheck
from routerd.plugins.host import PluginHost
from routerd.plugins.loading import LoadedPlugin
from routerd.plugins.measure.documented import undocumented
from routerd.plugins.measure.grades import DEFAULT, GRADES, judged
from routerd.plugins.measure.project import Project, find_project
from routerd.plugins.measure.suites import Run, require_kit, run_plugin_rules, run_suites

_NO_TESTS = Run(fault="no tests found; name their folder with --tests")


@click.command("check")
@click.argument("distribution")
@click.option(
    "--tests",
    type=click.Path(path_type=Path),
    help="The folder with the project's tests; by default `tests` where it was installed from.",
)
@click.option(
    "--grade", type=click.Choice(list(GRADES)), default=DEFAULT, show_default=True, help="The grade to reach."
)
@with_output
def command(distribution: str, *, tests: Path | None, grade: str, output: Output) -> None:
    """Measure an installed plugin: its grade, and what it lacks for each one.

    DISTRIBUTION is its name, the name of a plugin in it, or the folder of the project. The command imports
    the plugin and runs the contract suites among the project's tests; the extra routerd[testing] brings
    what it needs.

    Exit status 0: it reaches the grade. 1: it does not. 2: no such distribution is installed.
    """
    project = find_project(distribution, tests)
    require_kit()
    report = _measured(project, grade)
    if not output.wrote(report):
        _show(report)
    if not report.holds:
        sys.exit(1)


def _measured(project: Project, grade: str) -> PluginCheck:
    loaded: list[LoadedPlugin] = []
    faults: list[str] = []
    for installed in project.plugins:
        try:
            loaded += PluginHost.load([installed.name]).plugins
        except PluginError as error:
            faults.append(str(error))
    own = run_suites(project.tests) if project.tests is not None and loaded else _NO_TESTS
    return judged(
        project,
        loaded=loaded,
        faults=faults,
        undocumented={plugin.info.name: undocumented(plugin, project.readme) for plugin in loaded},
        whole=run_plugin_rules([plugin.info.name for plugin in loaded]) if loaded else Run(),
        own=own,
        asked=grade,
    )


def _show(report: PluginCheck) -> None:
    terminal = console()
    rows = [
        (each.grade, each.group, each.of, each.state, each.rules or "", each.words) for each in report.groups
    ]
    terminal.print(table("", ("GRADE", "GROUP", "OF", "STATE", "RULES", "WHAT IS MISSING"), rows))
    terminal.print()
    if report.fault:
        terminal.print(f"tests: {report.fault}", style="red", markup=False)
    reached = f"reaches the grade {report.grade}" if report.grade else "reaches no grade"
    verdict = "" if report.holds else f"; {report.asked} was asked for"
    terminal.print(f"{report.distribution} {report.version}: {reached}{verdict}", markup=False)
