"""Values as JSON and back: addresses and times as text, sets sorted, `attrs` values as objects."""

import json
import zlib
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from enum import Enum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from pathlib import Path
from typing import Any, TypeVar, cast, get_origin

import cattrs

from routerd.model.addresses import IPAddress, IPInterface, IPNetwork
from routerd.model.moment import exact_text
from routerd.spi import JSONValue

T = TypeVar("T")

_TEXTS: tuple[type, ...] = (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    Path,
)


def to_json(value: object) -> JSONValue:
    """Return a value as plain JSON; durations in seconds, times in UTC."""
    return cast("JSONValue", _CONVERTER.unstructure(value))


def from_json(document: object, kind: type[T]) -> T:
    """Return the value of type `kind` that `to_json` turned into `document`.

    `ValueError` when `document` has another shape.
    """
    try:
        return _CONVERTER.structure(document, kind)
    except (cattrs.BaseValidationError, TypeError, KeyError, ValueError) as error:
        raise ValueError(f"not of the type {kind.__name__}: {error}") from error


def dumps(value: object) -> str:
    """Return a value as one line of JSON, the same text for equal values."""
    return json.dumps(to_json(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def loads(text: str, kind: type[T]) -> T:
    """Return the value that `dumps` wrote; `ValueError` when `text` has another shape."""
    return from_json(json.loads(text), kind)


def readable_text(content: bytes) -> str:
    """Return text of the state file; damaged bytes become escapes, which JSON does not know."""
    return content.decode("utf-8", "backslashreplace")


def sealed(value: object) -> str:
    """Return a value as `dumps` does, behind the checksum of that text."""
    text = dumps(value)
    return f"{zlib.crc32(text.encode()):08x} {text}"


def unsealed(text: str, kind: type[T]) -> T:
    """Return the value that `sealed` wrote; `ValueError`, without its content, when a bit of it is another.

    A text without a checksum is that of an earlier routerd.
    """
    checksum, _, body = ("", "", text) if text.startswith("{") else text.partition(" ")
    if checksum and checksum != f"{zlib.crc32(body.encode()):08x}":
        raise ValueError("its checksum is wrong")
    try:
        return loads(body, kind)
    except ValueError:
        # What is wrong with it may be a proof or a key.
        raise ValueError(f"it is not of the type {kind.__name__}") from None


def _is_set(kind: object) -> bool:
    origin = get_origin(kind) or kind
    return isinstance(origin, type) and issubclass(origin, (set, frozenset))


def _sorted_list(items: Iterable[object]) -> list[JSONValue]:
    return sorted((to_json(item) for item in items), key=lambda item: json.dumps(item, sort_keys=True))


def _register(converter: cattrs.Converter, either: Any, parse: Callable[[str], object]) -> None:  # noqa: ANN401 - Any: a union of types
    """Write a value of either family as its text, and read it back; the text shows the family."""
    converter.register_structure_hook(either, lambda text, _: parse(text))
    converter.register_unstructure_hook(either, str)
    converter.register_structure_hook(either | None, lambda text, _: parse(text) if text else None)
    converter.register_unstructure_hook(either | None, lambda value: str(value) if value else None)


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(unstruct_strat=cattrs.UnstructureStrategy.AS_DICT)
    for kind in _TEXTS:
        converter.register_unstructure_hook(kind, str)
        converter.register_structure_hook(kind, lambda text, to: to(text))
    for either, parse in ((IPAddress, ip_address), (IPNetwork, ip_network), (IPInterface, ip_interface)):
        _register(converter, either, parse)
    converter.register_unstructure_hook(datetime, exact_text)
    converter.register_structure_hook(datetime, lambda text, _: datetime.fromisoformat(text))
    converter.register_unstructure_hook(timedelta, lambda span: span.total_seconds())
    converter.register_structure_hook(timedelta, lambda seconds, _: timedelta(seconds=seconds))
    converter.register_unstructure_hook(Enum, lambda member: member.value)
    converter.register_unstructure_hook_func(_is_set, _sorted_list)
    return converter


_CONVERTER = _converter()
