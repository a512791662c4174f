"""The keys of specs in a file: an attribute in camel case, or the `key` of its metadata."""

import typing
from functools import cache
from typing import Any

import attrs


@cache
def fields_of(cls: type[Any]) -> dict[str, tuple["attrs.Attribute[Any]", Any]]:
    """Return the fields of an `attrs` class by their key in the file, each with its resolved type.

    The type keeps the marks of `Annotated`.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    return {
        field.metadata.get("key", camel_case(field.name)): (field, hints[field.name])
        for field in attrs.fields(cls)
        if field.init
    }


def camel_case(name: str) -> str:
    """Return `snake_case` as `camelCase`."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def document_of(spec: object) -> dict[str, Any]:  # Any: JSON
    """Return a spec of texts, numbers, lists of them and parts like itself as JSON."""
    return {
        key: _plain(getattr(spec, field.name))
        for key, (field, _) in fields_of(type(spec)).items()  # type: ignore[arg-type]  # a class is hashable
    }


def _plain(value: object) -> object:
    if attrs.has(type(value)):
        return document_of(value)
    return list(value) if isinstance(value, tuple) else value
