"""A sample of any report, with a value in every field."""

from __future__ import annotations

import types
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
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
    IPv6Address: IPv6Address("2001:db8::1"),
    IPv6Network: IPv6Network("2001:db8::/64"),
    Any: {"a": [1]},
}


def filled(kind: type[T], *, family: int = 4) -> T:
    """Return a report with a value in every field that a document has, of IPv4 or IPv6 where both may be."""
    made: Any = _sample(kind, family)
    return made  # type: ignore[no-any-return]  # made of `kind`


def _sample(kind: Any, family: int) -> Any:
    while hasattr(kind, "__supertype__"):
        kind = kind.__supertype__
    if kind in _PLAIN:
        return _PLAIN[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return arguments[0]
    if origin in (Union, types.UnionType):
        six = [each for each in arguments if family == 6 and each in (IPv6Address, IPv6Network)]
        return _sample(next(each for each in (*six, *arguments) if each is not type(None)), family)
    if origin is tuple:
        return (_sample(arguments[0], family),)
    if origin is frozenset:
        return frozenset({_sample(arguments[0], family)})
    if origin is not None and issubclass(origin, Mapping):
        return {"key": _sample(arguments[1], family)}
    if kind is ClaimReport:
        report = from_document(claim_document(), ClaimReport)
        return attrs.evolve(report, waiting=report)
    attrs.resolve_types(kind)
    fields = [field for field in attrs.fields(kind) if field.metadata != NEVER]
    return kind(**{field.name: _sample(field.type, family) for field in fields})
