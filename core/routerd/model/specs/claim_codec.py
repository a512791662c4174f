"""Claims between three forms: the spec of a file, the value, and the JSON document on the wire.

The fields and their places are those of `model.claim.Claim`; nothing here names one of them.
"""

import typing
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from functools import cache
from typing import Any

import attrs

from routerd.model.claim import Claim
from routerd.model.specs.enrollment import SAMEnrollmentClaimSpec
from routerd.model.specs.keys import document_of

API_VERSION = "mobility.routerd.net/v1alpha1"
KIND = "SAMEnrollmentClaim"

Document = dict[str, Any]  # Any: JSON

_WORDS = {str: "text", int: "an integer", bool: "true or false"}
_TOP_FIELDS = frozenset(("apiVersion", "kind", "metadata", "spec", "status"))


@attrs.frozen
class Place:
    """Where a field of a claim is in the resource; `kind` is the type of its value."""

    name: str
    section: str
    key: str
    kind: Any  # Any: a type, also a generic one
    required: bool


@cache
def places(cls: type[attrs.AttrsInstance]) -> tuple[Place, ...]:
    """Return the places of the fields of a claim, or of a part of it."""
    hints = typing.get_type_hints(cls)
    found = []
    for field in attrs.fields(cls):
        if (path := field.metadata.get("at")) is not None:
            section, _, key = path.rpartition(".")
            kind = getattr(hints[field.name], "__supertype__", hints[field.name])
            kind = next((each for each in typing.get_args(kind) if attrs.has(each)), kind)
            found.append(Place(field.name, section, key, kind, field.default is attrs.NOTHING))
    return tuple(found)


def claim_from_spec(name: str, spec: SAMEnrollmentClaimSpec) -> Claim:
    """Return the claim of a resource in a file."""
    return Claim(name=name, **_read(Claim, document_of(spec), "spec"))


def claim_to_document(claim: Claim) -> Document:
    """Return the resource as JSON; empty fields are left out."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": claim.name},
        "spec": _written(claim),
    }


def claim_from_document(document: object) -> Claim:
    """Return the claim in a JSON document; `ValueError` names the field that is wrong."""
    top = _mapping(document, "claim", _TOP_FIELDS)
    if top.get("apiVersion") != API_VERSION or top.get("kind") != KIND:
        raise ValueError(f"claim must be of apiVersion {API_VERSION} and kind {KIND}")
    name = _mapping(top.get("metadata"), "metadata").get("name", "")
    if not isinstance(name, str):
        raise ValueError("metadata.name must be text")  # noqa: TRY004 - one error type for bad input
    if not name.strip():
        raise ValueError("metadata.name is required")
    return Claim(name=name.strip(), **_read(Claim, top.get("spec"), "spec"))


def _written(part: attrs.AttrsInstance) -> Document:
    document: Document = {}
    for place in places(type(part)):
        value = getattr(part, place.name)
        if attrs.has(type(value)):
            value = _written(value)
        elif isinstance(value, tuple):
            value = list(value)
        if value not in ("", 0, False, [], {}, None):
            (document.setdefault(place.section, {}) if place.section else document)[place.key] = value
    return document


def _read(cls: type[attrs.AttrsInstance], document: object, where: str) -> dict[str, Any]:
    """Return the values of the fields of `cls`; those that the document lacks are empty."""
    known: dict[str, set[str]] = {"": set()}
    for place in places(cls):
        known[""].add(place.section or place.key)
        known.setdefault(place.section, set()).add(place.key)
    top = _mapping(document, where, known[""])
    parts = {
        section: _mapping(top.get(section, {}), f"{where}.{section}", known[section]) if section else top
        for section in known
    }
    return {
        place.name: _value(place, parts[place.section], ".".join(filter(None, (where, place.section))))
        for place in places(cls)
    }


def _value(place: Place, fields: Mapping[str, object], where: str) -> object:
    """Return the value of a field, empty when it is missing; `ValueError` when it is of another kind."""
    path = f"{where}.{place.key}"
    if attrs.has(place.kind):
        found = fields.get(place.key)
        return None if found is None else place.kind(**_read(place.kind, found, path))
    if place.kind in _WORDS:
        value = fields.get(place.key, place.kind())
        # By the type itself, because `True` is an `int` to isinstance.
        if type(value) is not place.kind:
            raise ValueError(f"{path} must be {_WORDS[place.kind]}")
        return value
    items = fields.get(place.key) or []
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise ValueError(f"{path} must be a list of texts")
    return tuple(items)


def _mapping(value: object, where: str, known: AbstractSet[str] | None = None) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} must be an object")  # noqa: TRY004 - one error type for bad input
    if known is not None and not known >= value.keys():
        raise ValueError(f"{where} has unknown field {min(value.keys() - known)}")
    return value
