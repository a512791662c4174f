"""`routerd get KIND[/NAME]`: resources as configured and as they are."""

from collections.abc import Sequence

import click

from routerd.cli.share.ask import ask
from routerd.cli.share.output import Output, with_output
from routerd.cli.share.settings import Settings, with_settings
from routerd.cli.share.show import console, table
from routerd.errors import ControlError
from routerd.model.report.resources import ResourceList, ResourceReport, ResourceStatus


@click.command("get")
@click.argument("what", metavar="KIND[/NAME]")
@with_output
@with_settings
def command(settings: Settings, *, what: str, output: Output) -> None:
    """Show the resources of a kind, or one resource; `all` shows every kind."""
    items = ask(settings, "/v1/resources", ResourceList).items
    kind, slash, name = what.partition("/")
    known = sorted({each.kind for each in items})
    found = [
        each for each in items if kind in ("all", each.kind) and (not slash or each.metadata.name == name)
    ]
    if not found:
        there = f"there are {', '.join(known)}" if kind not in known else f"{kind} has {_names(items, kind)}"
        raise ControlError(f"{what}: not found here; {there}")
    if not output.wrote(found[0] if slash else ResourceList(items=tuple(found))):
        rows = [(each.kind, each.metadata.name, each.status.phase, _why(each)) for each in found]
        console().print(table("", ("KIND", "NAME", "PHASE", "WHY"), rows))


def _names(items: Sequence[ResourceReport], kind: str) -> str:
    return ", ".join(each.metadata.name for each in items if each.kind == kind)


def _why(report: ResourceReport) -> str:
    status = report.status
    return (
        "; ".join((*status.reasons, *status.notes)) if isinstance(status, ResourceStatus) else status.message
    )
