"""`routerd get KIND[/NAME]`: resources as configured and as they are."""

from __future__ import annotations

from typing import Any, cast

import click
import yaml

from routerd.cli.share.ask import ask
from routerd.cli.share.settings import Settings, with_settings
from routerd.cli.share.show import as_json, console, table
from routerd.control.client import Document
from routerd.errors import ControlError


@click.command("get")
@click.argument("what", metavar="KIND[/NAME]")
@click.option("-o", "--output", type=click.Choice(["table", "yaml", "json"]), default="table")
@with_settings
def command(settings: Settings, *, what: str, output: str) -> None:
    """Show resources of a kind, or one of them; `all` shows every kind."""
    answer = ask(settings, "/v1/resources")
    items = cast("list[Document]", answer["items"])
    kind, slash, name = what.partition("/")
    known = sorted({str(item["kind"]) for item in items})
    found = [item for item in items if kind in ("all", item["kind"]) and (not slash or _name(item) == name)]
    if not found:
        there = f"there are {', '.join(known)}" if kind not in known else f"{kind} has {_names(items, kind)}"
        raise ControlError(f"no {what} here; {there}")
    if output == "table":
        rows = [(item["kind"], _name(item), *_standing(item)) for item in found]
        console().print(table("", ("KIND", "NAME", "PHASE", "WHY"), rows))
        return
    shown: Any = found[0] if slash else found
    click.echo(as_json(shown) if output == "json" else yaml.safe_dump(shown, sort_keys=False).rstrip())


def _name(item: Document) -> str:
    return str(cast("Document", item["metadata"])["name"])


def _names(items: list[Document], kind: str) -> str:
    return ", ".join(_name(item) for item in items if item["kind"] == kind)


def _standing(item: Document) -> tuple[str, str]:
    status = cast("Document", item.get("status") or {})
    said = [*cast("list[str]", status.get("reasons") or []), *cast("list[str]", status.get("notes") or [])]
    return str(status.get("phase", "")), "; ".join(said) or str(status.get("message") or "")
