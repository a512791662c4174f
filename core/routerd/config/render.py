"""A resource written back as a document, for `routerd get`; reading it returns the same resource.

Secrets are in files and environment variables, so a document shows none. The few fields that may
hold one inline are masked, and so are cloud options whose name is that of a credential.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Network
from pathlib import PurePath
from typing import Any

import attrs
import yaml

from routerd.config.credentials import is_credential
from routerd.model.resource import Resource
from routerd.model.specs.keys import fields_of

MASK = "***"

_TEXTUAL = (IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Network, PurePath)


def to_document(resource: Resource[object], *, defaults: bool = False) -> dict[str, Any]:  # Any: JSON
    """Return a resource as JSON; fields with their default value only with `defaults`."""
    metadata: dict[str, Any] = {"name": resource.name}
    if resource.annotations:
        metadata["annotations"] = dict(resource.annotations)
    return {
        "apiVersion": resource.id.api_version,
        "kind": resource.id.kind,
        "metadata": metadata,
        "spec": _plain(resource.spec, defaults=defaults),
    }


def to_json(resource: Resource[object], *, defaults: bool = False) -> str:
    """Return a resource as JSON text."""
    return json.dumps(to_document(resource, defaults=defaults), indent=2, ensure_ascii=False) + "\n"


def to_yaml(resource: Resource[object], *, defaults: bool = False) -> str:
    """Return a resource as YAML text."""
    document = to_document(resource, defaults=defaults)
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)


def duration(value: timedelta) -> str:
    """Return a duration in Go's notation, such as `1h30m` or `250ms`."""
    rest = value // timedelta(microseconds=1)
    text = ""
    for unit, size in (("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1000), ("us", 1)):
        count, rest = divmod(rest, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def _plain(value: object, *, defaults: bool) -> object:
    if attrs.has(type(value)):
        return _fields(value, defaults=defaults)
    if isinstance(value, timedelta):
        return duration(value)
    if isinstance(value, _TEXTUAL):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {
            str(key): MASK
            if isinstance(item, str) and is_credential(str(key))
            else _plain(item, defaults=defaults)
            for key, item in value.items()
        }
    if isinstance(value, (tuple, list)):
        return [_plain(item, defaults=defaults) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(item, defaults=defaults) for item in value), key=str)
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _fields(value: object, *, defaults: bool) -> dict[str, object]:
    given: dict[str, object] = {}
    for key, (field, _) in fields_of(type(value)).items():  # type: ignore[arg-type]  # a class is hashable
        item = getattr(value, field.name)
        if item is None or (not defaults and item == _default(value, field)):
            continue
        hidden = not field.repr and isinstance(item, str) and item
        given[key] = MASK if hidden else _plain(item, defaults=defaults)
    return given


def _default(owner: object, field: "attrs.Attribute[Any]") -> object:  # Any: the attribute's own type
    default: Any = field.default  # Any: a value, or a factory whose class the stubs hide
    factory = getattr(default, "factory", None)
    if factory is None:
        return default
    return factory(owner) if default.takes_self else factory()
