"""`routerd routes`: the learned routes, and the refused prefixes."""

import click

from routerd.cli.share.ask import ask
from routerd.cli.share.output import Output, with_output
from routerd.cli.share.settings import Settings, with_settings
from routerd.cli.share.show import console, table
from routerd.model.report.status import RejectedRouteList, RouteList, Status


@click.command("routes")
@click.option(
    "--rejected", is_flag=True, help="Show prefixes that neighbours announced and the policy refused."
)
@with_output
@with_settings
def command(settings: Settings, *, rejected: bool, output: Output) -> None:
    """Show the learned routes."""
    status = ask(settings, "/v1/status", Status)
    if rejected:
        if not output.wrote(RejectedRouteList(items=status.rejected)):
            rows = [(each.prefix, each.source, each.neighbour, each.reason) for each in status.rejected]
            console().print(table("", ("PREFIX", "SOURCE", "NEIGHBOUR", "REASON"), rows))
        return
    if output.wrote(RouteList(items=status.routes)):
        return
    columns = ("PREFIX", "SOURCE", "NEXT HOP", "NEIGHBOUR", "LOCAL PREF", "BEST", "INSTALLED", "NOTE")
    routes = [
        (each.prefix, each.source, each.next_hop, each.neighbour, each.local_preference, each.best,
         each.installed,
         "stale: its session is lost" if each.stale else "")
        for each in status.routes
    ]  # fmt: skip
    console().print(table("", columns, routes))
