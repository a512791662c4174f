"""A sample of any report, with a value in every field."""

from __future__ import annotations

import types
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import attrs
from tests.unit.control.admin_world import claim_document

from routerd.control.wire import from_document
from routerd.model.report import NEVER
from routerd.model.report.claims import ClaimReport

T = TypeVar("T")

_PLAIN: Mapping[object, object] = {
    str: "text",
    int: 3,
    float: 1.5,
    bool: True,
    datetime: datetime(2026, 6, 28, 12, tzinfo=UTC),
    IPv4Address: IPv4Address("10.255.0.1"),
    IPv4Network: IPv4Network("10.99.0.1/32"),
    Any: {"a": [1]},
}


def filled(kind: type[T]) -> T:
    """Return a report with a value in every field that a document has."""
    made: Any = _sample(kind)
    return made  # type: ignore[no-any-return]  # made of `kind`


def _sample(kind: Any) -> Any:
    while hasattr(kind, "__supertype__"):
        kind = kind.__supertype__
    if kind in _PLAIN:
        return _PLAIN[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return arguments[0]
    if origin in (Union, types.UnionType):
        return _sample(next(each for each in arguments if each is not type(None)))
    if origin is tuple:
        return (_sample(arguments[0]),)
    if origin is frozenset:
        return frozenset({_sample(arguments[0])})
    if origin is not None and issubclass(origin, Mapping):
        return {"key": _sample(arguments[1])}
    if kind is ClaimReport:
        report = from_document(claim_document(), ClaimReport)
        return attrs.evolve(report, waiting=report)
    attrs.resolve_types(kind)
    fields = [field for field in attrs.fields(kind) if field.metadata != NEVER]
    return kind(**{field.name: _sample(field.type) for field in fields})
