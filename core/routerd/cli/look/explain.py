"""`routerd explain [SOURCE] ADDRESS`: why packets go where they go, and whether they get there."""

import sys
from urllib.parse import quote, urlencode

import click

from routerd.cli.share.ask import ask
from routerd.cli.share.output import Output, with_output
from routerd.cli.share.settings import Settings, with_settings
from routerd.cli.share.show import console, table
from routerd.model.claim import prefix
from routerd.model.report.explanation import Explanation

_MARKS = {"ok": ("ok", "green"), "bad": ("BAD", "red"), "note": ("-", "dim")}


@click.command("explain")
@click.argument("addresses", nargs=-1, required=True, metavar="[SOURCE] ADDRESS")
@click.option(
    "--by", "protocol", metavar="PROTOCOL[/PORT]", help="What the packets of SOURCE are, such as tcp/22."
)
@with_output
@with_settings
def command(settings: Settings, *, addresses: tuple[str, ...], protocol: str | None, output: Output) -> None:
    """Show step by step where packets to ADDRESS go: claim, BGP, kernel, tunnel, cloud.

    With SOURCE it also shows what subsystems, such as a packet filter, decide about packets from there.
    Exit status 0: the address is reachable as far as this router knows, 1: it is not, 2: ADDRESS is
    not an address.
    """
    if len(addresses) > 2:
        raise click.UsageError(f"give one address, or two; got {len(addresses)}")
    target, source = _address(addresses[-1], "ADDRESS"), ""
    if len(addresses) == 2:
        kind, _, port = (protocol or "").partition("/")
        if port and not port.isdecimal():
            raise click.BadParameter(f"{port} is not a port", param_hint="--by")
        asked = {"from": _address(addresses[0], "SOURCE"), "protocol": kind, "port": port}
        source = f"&{urlencode({name: value for name, value in asked.items() if value})}"
    elif protocol is not None:
        raise click.UsageError("--by needs SOURCE and ADDRESS")
    found = ask(settings, f"/v1/explain?address={quote(target, safe='')}{source}", Explanation)
    if not output.wrote(found):
        from rich.text import Text  # noqa: PLC0415 - only for the table

        terminal = console()
        rows = [(each.title, Text(*_MARKS[each.state]), each.text) for each in found.steps]
        terminal.print(table("", ("STEP", "", "WHAT IS KNOWN"), rows))
        terminal.print()
        terminal.print(Text(found.verdict, style="green" if found.reachable else "red"))
    if not found.reachable:
        sys.exit(1)


def _address(text: str, what: str) -> str:
    try:
        return str(prefix(text.strip()))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=what) from error
