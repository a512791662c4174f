"""An HTTP API described once, by values that check each request.

The tests make an OpenAPI document of them, and let a fuzzer send what it allows and forbids. Nothing
here depends on what the routes are about.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import attrs

from routerd.spi import JSONValue

Schema = Mapping[str, JSONValue]

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
