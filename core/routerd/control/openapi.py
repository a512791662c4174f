"""An HTTP API described once: these values check each request and make the OpenAPI document.

The listener serves the document, and a test lets a fuzzer send what the document allows and forbids.
Nothing here depends on what the routes are about.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import attrs

from routerd.spi import JSONValue

Schema = Mapping[str, JSONValue]
Document = dict[str, JSONValue]

JSON_TYPE = "application/json"
TEXT_TYPE = "text/plain"

_TYPES: Mapping[str, type] = {"object": dict, "string": str}


@attrs.frozen(kw_only=True)
class Text:
    """A parameter in the path or the query: text that `pattern` matches as a whole."""

    name: str
    where: Literal["path", "query"]
    pattern: str
    what: str
    required: bool = True

    def problem(self, values: Sequence[str]) -> str:
        """Say what is wrong with the given values; empty when they are right."""
        if not values:
            return f"{self.name} is missing" if self.required else ""
        if len(values) > 1:
            return f"{self.name} is given twice"
        return "" if re.fullmatch(self.pattern, values[0]) else f"{self.name} does not match {self.pattern}"

    def document(self) -> Document:
        """Return the parameter as OpenAPI has it."""
        return {
            "name": self.name,
            "in": self.where,
            "required": self.required,
            "description": self.what,
            "schema": {"type": "string", "pattern": f"^{self.pattern}$"},
        }


@attrs.frozen(kw_only=True)
class Shape:
    """A JSON object: the schema of each field by its name; those in `optional` may be missing.

    Of a schema, `const`, `type` (text and objects) and `pattern` are checked in requests.
    """

    name: str
    fields: Mapping[str, Schema]
    optional: frozenset[str] = frozenset()
    constants: Mapping[str, JSONValue] = attrs.field(init=False, eq=False)

    @constants.default
    def _constants(self) -> Mapping[str, JSONValue]:
        return {name: schema["const"] for name, schema in self.fields.items() if "const" in schema}

    def problem(self, body: JSONValue) -> str:
        """Say what is wrong with an object of this shape; empty when it is right."""
        if not isinstance(body, dict):
            return "the body is not a JSON object"
        for name, schema in self.fields.items():
            if name not in body:
                if name not in self.optional:
                    return f"{name} is missing"
            elif wrong := _wrong(body[name], schema):
                return f"{name} {wrong}"
        return ""

    def document(self) -> Document:
        """Return the shape as JSON Schema has it."""
        return {
            "type": "object",
            "required": [name for name in self.fields if name not in self.optional],
            "properties": {name: dict(schema) for name, schema in self.fields.items()},
        }


def _wrong(value: JSONValue, schema: Schema) -> str:
    if "const" in schema:
        return "" if value == schema["const"] else f"must be {schema['const']}"
    kind = str(schema.get("type"))
    if kind in _TYPES and not isinstance(value, _TYPES[kind]):
        return f"must be of type {kind}"
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and isinstance(value, str) and not re.search(pattern, value):
        return f"does not match {pattern}"
    return ""


@attrs.frozen(kw_only=True)
class Refusal:
    """A refusal: JSON with a reason code, plain text, or either.

    Without `reason` the code comes with the refusal of the desk.
    """

    status: int
    what: str
    reason: str = ""
    media: tuple[str, ...] = (JSON_TYPE,)
    headers: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Route:
    """One method of one path, with its parameters and its answers.

    `known` routes serve only clients that have proven their identity.
    """

    name: str
    method: Literal["GET", "POST"]
    path: str
    what: str
    answer: Shape
    texts: tuple[Text, ...] = ()
    body: Shape | None = None
    known: bool = False
    refusals: tuple[Refusal, ...] = ()

    def problem(self, path: Mapping[str, str], query: Mapping[str, Sequence[str]]) -> str:
        """Say what is wrong with the parameters of a request; empty when they are right."""
        for text in self.texts:
            if text.where == "path":
                values: Sequence[str] = (path[text.name],)
            else:
                values = query.get(text.name, ())
            if wrong := text.problem(values):
                return wrong
        return ""


def openapi(
    title: str,
    version: str,
    routes: Iterable[tuple[str, Route]],
    *,
    error: Shape,
    security: Mapping[str, Schema],
) -> Document:
    """Return the document for `routes`, each with the whole path under which it is served.

    `security` are the schemes that a client has to satisfy, all of them.
    """
    paths: dict[str, Document] = {}
    shapes = {error.name: error}
    for path, route in routes:
        shapes |= {shape.name: shape for shape in (route.answer, route.body) if shape is not None}
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, error)
    components: dict[str, JSONValue] = {"schemas": {name: shapes[name].document() for name in sorted(shapes)}}
    document: Document = {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": {**paths},
        "components": components,
    }
    if security:
        components["securitySchemes"] = {name: dict(scheme) for name, scheme in security.items()}
        document["security"] = [{name: [] for name in security}]
    return document


def _operation(route: Route, error: Shape) -> Document:
    answers: Document = {
        "200": {"description": "Done.", "content": {JSON_TYPE: {"schema": _ref(route.answer)}}}
    }
    for status in sorted({refusal.status for refusal in route.refusals}):
        answers[str(status)] = _answer([each for each in route.refusals if each.status == status], error)
    operation: Document = {"operationId": route.name, "summary": route.what, "responses": answers}
    if route.texts:
        operation["parameters"] = [text.document() for text in route.texts]
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
