"""The enrollment listener's description of itself as an OpenAPI document, for a fuzzer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from routerd.control import enrollment_api as api
from routerd.control.ports import API_VERSION, PREFIX
from routerd.control.shapes import JSON_TYPE, TEXT_TYPE, Refusal, Route, Schema, Shape, Text
from routerd.model.claim import Claim
from routerd.model.specs import claim_codec
from routerd.spi import JSONValue

Document = dict[str, Any]  # JSON


def document(routes: Iterable[Route], *, token: bool) -> Document:
    """Return the document of an enrollment listener that serves `routes`."""
    paths: dict[str, Document] = {}
    error = api.ERROR
    shapes = {error.name: error}
    for route in routes:
        path = PREFIX + route.path
        shapes |= {shape.name: shape for shape in (route.answer, route.body) if shape is not None}
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, error)
    components: dict[str, JSONValue] = {"schemas": {name: _shape(shapes[name]) for name in sorted(shapes)}}
    made: Document = {
        "openapi": "3.1.0",
        "info": {"title": "routerd enrollment", "version": API_VERSION.rpartition("/")[2]},
        "paths": {**paths},
        "components": components,
    }
    if token:
        components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        made["security"] = [{"bearer": []}]
    return made


def _operation(route: Route, error: Shape) -> Document:
    answers: Document = {
        "200": {"description": "Done.", "content": {JSON_TYPE: {"schema": _ref(route.answer)}}}
    }
    for status in sorted({refusal.status for refusal in route.refusals}):
        answers[str(status)] = _answer([each for each in route.refusals if each.status == status], error)
    operation: Document = {"operationId": route.name, "summary": route.what, "responses": answers}
    if route.texts:
        operation["parameters"] = [_parameter(text) for text in route.texts]
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {JSON_TYPE: {"schema": _ref(route.body)}},
        }
    return operation


def _answer(refusals: Sequence[Refusal], error: Shape) -> Document:
    schemas: dict[str, Schema] = {TEXT_TYPE: {"type": "string"}, JSON_TYPE: _ref(error)}
    reasons: list[JSONValue] = [each.reason for each in refusals if JSON_TYPE in each.media]
    if reasons and "" not in reasons:
        code: Schema = {"properties": {"error": {"properties": {"reason": {"enum": reasons}}}}}
        schemas[JSON_TYPE] = {"allOf": [_ref(error), dict(code)]}
    answer: Document = {
        "description": " Or: ".join(each.what for each in refusals),
        "content": {
            media: {"schema": dict(schemas[media])}
            for media in sorted({media for each in refusals for media in each.media})
        },
    }
    headers = {name: what for each in refusals for name, what in each.headers.items()}
    if headers:
        answer["headers"] = {
            name: {"description": what, "schema": {"type": "string"}} for name, what in headers.items()
        }
    return answer


def _ref(shape: Shape) -> Document:
    return {"$ref": f"#/components/schemas/{shape.name}"}


def _parameter(text: Text) -> Document:
    return {
        "name": text.name,
        "in": text.where,
        "required": text.required,
        "description": text.what,
        "schema": {"type": "string", "pattern": f"^{text.pattern}$"},
    }


def _shape(shape: Shape) -> Document:
    fields = {name: dict(schema) for name, schema in shape.fields.items()}
    if shape is api.SUBMIT.body:
        fields["claim"] = dict(_CLAIM)
    return {
        "type": "object",
        "required": [name for name in shape.fields if name not in shape.optional],
        "properties": fields,
    }


def _schema(cls: type[attrs.AttrsInstance]) -> dict[str, JSONValue]:
    """Return the schema of a claim's spec, or of a part of it."""
    fields: dict[str, JSONValue] = {}
    sections: dict[str, dict[str, JSONValue]] = {"": fields}
    for place in claim_codec.places(cls):
        schema = _schema(place.kind) if attrs.has(place.kind) else dict(_KINDS[place.kind])
        sections.setdefault(place.section, {})[place.key] = schema
    fields |= {name: _object(part) for name, part in sections.items() if name}
    return _object(fields)


def _object(fields: dict[str, JSONValue], *required: str) -> dict[str, JSONValue]:
    return {
        "type": "object",
        "required": list(required),
        "properties": fields,
        "additionalProperties": False,
    }


_KINDS: Mapping[object, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
    tuple[str, ...]: {"type": "array", "items": {"type": "string"}},
}

_CLAIM: Schema = _object(
    {
        "apiVersion": {"const": claim_codec.API_VERSION},
        "kind": {"const": claim_codec.KIND},
        "metadata": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
        "spec": {
            **_schema(Claim),
            "required": [place.key for place in claim_codec.places(Claim) if place.required],
        },
        "status": {"type": "object"},
    },
    *("apiVersion", "kind", "metadata", "spec"),
)
"""A claim as `claim_codec` reads it; the refusal of a value says what the field may hold."""
