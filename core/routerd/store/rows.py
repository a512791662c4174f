"""Rows of the journal as values: each record's attributes are the columns of its table, in their order."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import attrs

from routerd.spi import JSONValue
from routerd.store.codec import from_json

T = TypeVar("T")

_COLUMNS = {"table": "tbl"}
"""Columns that are not called like their attribute."""


def columns(kind: type[Any]) -> str:
    """Return the columns of a record for a SELECT."""
    return ", ".join(_COLUMNS.get(field.name, field.name) for field in attrs.fields(kind))


def record(kind: type[T], row: Sequence[Any]) -> T:  # Any: a row's columns
    """Return the record that a row of `columns(kind)` holds."""
    names = [field.name for field in attrs.fields(kind)]  # type: ignore[arg-type]  # an attrs class
    return kind(
        **{name: _READ[name](cell) if name in _READ else cell for name, cell in zip(names, row, strict=True)}
    )


def _time(text: str | None) -> datetime | None:
    return from_json(text, datetime) if text else None


def _document(text: str) -> JSONValue:
    """Return the JSON of a column; a damaged column comes as its text, which becomes no value later."""
    try:
        found: JSONValue = json.loads(text)
    except ValueError:
        return text
    return found


_READ: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("key_value", "before", "after"), _document),
    **dict.fromkeys(("begun_at", "finished_at", "approved_at", "held_at"), _time),
    "ended": bool,
}
