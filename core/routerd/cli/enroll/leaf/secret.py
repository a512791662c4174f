"""The options that name a join token."""

from pathlib import Path

import attrs
import click

from routerd.cli.share.options import Given, gathered
from routerd.config import secrets
from routerd.model.specs import SecretSource


@attrs.frozen(kw_only=True)
class Secret:
    """A join token of the command line: a reference to it, or the token itself."""

    source: SecretSource | None = None
    text: str | None = attrs.field(default=None, repr=False)
    base64: bool = False

    def resolve(self) -> str:
        """Return the token; `ConfigError` says why it is not available, and never shows it."""
        if self.source is not None:
            return secrets.resolve(self.source)
        return secrets.decoded("--secret", self.text or "", base64=self.base64)


_OPTIONS = (
    click.option(
        "--secret-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="The file that holds the join token.",
    ),
    click.option("--secret-env", metavar="NAME", help="The environment variable that holds it."),
    click.option("--secret", "secret_text", metavar="TEXT", help="The token itself; it shows in `ps`."),
    click.option("--secret-base64", is_flag=True, help="The token is in base64."),
)


_NAMES = ("secret_file", "secret_env", "secret_text", "secret_base64")


def _secret(given: Given) -> Secret | None:
    file, env, text, base64 = (given[name] for name in _NAMES)
    named = [value for value in (file, env, text) if value is not None]
    if len(named) > 1:
        raise click.UsageError("give one of --secret-file, --secret-env and --secret")
    if not named:
        if base64:
            raise click.UsageError("--secret-base64 goes with --secret-file, --secret-env or --secret")
        return None
    if text is not None:
        click.echo("warning: --secret shows in the process list; --secret-file does not", err=True)
        return Secret(text=text, base64=base64)
    return Secret(source=SecretSource(file=file, env=env, base64=base64))


with_secret = gathered("secret", _OPTIONS, _secret)
"""Adds the options to a command, which gets a `Secret`, or none, as `secret`."""
