"""`routerd ed25519-key`: make a leaf's key, or print its public half."""

from pathlib import Path

import click

from routerd_join_ed25519 import keys


@click.command("ed25519-key")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--make", is_flag=True, help="Make the file (mode 0600); it must not exist.")
def command(file: Path, *, make: bool) -> None:
    """Print the public half of a leaf's join key, for joinOptions.keys of the policy."""
    click.echo(keys.public_text(keys.make(file) if make else keys.read(file)))
