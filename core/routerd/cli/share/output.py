"""The option by which a command prints its report as a document instead of tables."""

import json
from typing import Literal

import attrs
import click

from routerd.cli.share.options import Given, gathered
from routerd.control.wire import Document, to_document

Format = Literal["table", "json", "yaml"]


@attrs.frozen
class Output:
    """The format that an operator asked for."""

    format: Format = "table"

    @property
    def is_document(self) -> bool:
        """Say whether the command prints a document."""
        return self.format != "table"

    def wrote(self, report: object) -> bool:
        """Print a report as the document that was asked for; return whether one was."""
        if self.is_document:
            self.write(to_document(report))
        return self.is_document

    def write(self, document: Document) -> None:
        """Print a document."""
        if self.format == "json":
            click.echo(json.dumps(document, indent=2, ensure_ascii=False))
            return
        import yaml  # noqa: PLC0415 - most commands print tables

        click.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True).rstrip())


def _output(given: Given) -> Output:
    if given["as_json"] and given["output"] == "yaml":
        raise click.UsageError("--json is -o json; give one format")
    return Output("json" if given["as_json"] else given["output"])


_OPTIONS = (
    click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json", "yaml"]),
        default="table",
        show_default=True,
        help="The format; docs/output.md describes the documents.",
    ),
    click.option("--json", "as_json", is_flag=True, help="The same as -o json."),
)

with_output = gathered("output", _OPTIONS, _output)
"""Adds `-o` and its alias `--json` to a command, which gets an `Output` as `output`."""
