"""`routerd verify`: says whether the tests of the policy hold for the rules that the kernel really has."""

import json
import sys

import click

from routerd.cli.for_plugins import Daemon, with_daemon


@click.command("verify")
@click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True,
    help="The format of the answer.",
)  # fmt: skip
@with_daemon
def verify(daemon: Daemon, *, output: str) -> None:
    """Evaluate the tests of the fabric policy against the rules that the kernel holds now.

    Exit status 0: every test holds, 1: one does not, or the kernel has a rule that routerd does not know.
    """
    answer = daemon.ask("fabric_policy", "verify")
    if output == "json":
        click.echo(json.dumps(answer, indent=2))
    else:
        click.echo(_table(answer))
    if answer["passed"] is not True:
        sys.exit(1)


def _table(answer: object) -> str:
    document = json.loads(json.dumps(answer))
    tests = document["tests"]
    if not tests:
        return f"{document['policy']} has no tests; write some below spec.tests"
    width = max(len(each["test"]) for each in tests)
    marks = {"holds": "ok", "fails": "BAD", "unknown": "?"}
    return "\n".join(
        f"{marks[each['result']]:<3}  {each['test']:<{width}}  {each['because']}" for each in tests
    )
