"""`routerd plugins new NAME`: a project for a plugin of one's own."""

from pathlib import Path

import click

from routerd.plugins.scaffold import FAMILIES, Family, new_project


@click.command("new")
@click.argument("name")
@click.option("--family", type=click.Choice(FAMILIES), required=True, help="What the plugin offers.")
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="The folder that gets the project's folder; this one by default.",
)
def command(name: str, *, family: Family, into: Path) -> None:
    """Write a project for a plugin: its package, its README, and tests that pass.

    NAME is what a configuration file calls it: the mode of a tunnel, a routing, a join method or a cloud.
    """
    folder = new_project(name, family, into)
    click.echo(f"{folder}: written; next: cd {folder} && pip install -e '.[testing]' && pytest")
