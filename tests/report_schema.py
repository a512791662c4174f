"""The JSON Schema of routerd's documents, made from the values that they are made of.

`python -m tests.report_schema` writes `docs/schema/report-v1.json`; a test compares the file.
"""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import attrs

from routerd.control.wire import key_of
from routerd.model.report import API_VERSION, NEVER, OPTIONAL, actions, checks, claims, explanation, plan
from routerd.model.report import resources as resource_reports
from routerd.model.report import status as statuses
from routerd.model.report.claims import AuditEntry
from routerd.model.specs import claim_codec

FILE = Path(__file__).parents[1] / "docs" / "schema" / "report-v1.json"

KINDS: tuple[type[Any], ...] = (
    statuses.Status,
    statuses.PeerList,
    statuses.RouteList,
    statuses.RejectedRouteList,
    plan.Plan,
    explanation.Explanation,
    resource_reports.ResourceList,
    claims.ClaimList,
    claims.ClaimDecision,
    claims.DecisionList,
    claims.SubmissionList,
    claims.ClaimSignature,
    actions.ActionList,
    actions.ActionDetails,
    actions.ActionApproval,
    actions.ActionUndo,
    checks.PluginList,
    checks.PluginCheck,
    checks.CloudCheckup,
    checks.Validation,
)
"""The values that become whole documents under the name of their class."""

_PLAIN: Mapping[object, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    datetime: {"type": "string", "format": "date-time"},
    IPv4Address: {"type": "string", "format": "ipv4"},
    IPv4Network: {"type": "string", "pattern": r"^[0-9.]+/[0-9]+$"},
    IPv6Address: {"type": "string", "format": "ipv6"},
    IPv6Network: {"type": "string", "pattern": r"^[0-9a-f:.]+/[0-9]+$"},
    Any: {},
}


class Schema:
    """Gathers the definitions that types need."""

    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}

    def of(self, kind: Any) -> dict[str, Any]:
        """Return the schema of a type."""
        while hasattr(kind, "__supertype__"):
            kind = kind.__supertype__
        if kind in _PLAIN:
            return dict(_PLAIN[kind])
        origin, arguments = get_origin(kind), get_args(kind)
        if origin is Literal:
            return {"enum": list(arguments)}
        if origin in (Union, types.UnionType):
            return {"anyOf": [self.of(each) for each in arguments]}
        if origin in (tuple, frozenset):
            return {"type": "array", "items": self.of(arguments[0])}
        if origin is not None and issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self.of(arguments[1])}
        if not attrs.has(kind):
            raise TypeError(f"no schema for {kind!r}")
        if kind.__name__ not in self.definitions:
            self.definitions[kind.__name__] = {}  # a claim holds its change, which is a claim
            self.definitions[kind.__name__] = self._object(kind)
        return {"$ref": f"#/$defs/{kind.__name__}"}

    def _object(self, kind: type[Any]) -> dict[str, Any]:
        if kind is claims.ClaimReport:
            return self._claim()
        attrs.resolve_types(kind)
        fields = [field for field in attrs.fields(kind) if field.metadata != NEVER]
        return {
            "description": " ".join((kind.__doc__ or "").split()),
            "type": "object",
            "properties": {key_of(field.name): self.of(field.type) for field in fields},
            "required": [key_of(field.name) for field in fields if field.metadata != OPTIONAL],
            "additionalProperties": False,
        }

    def _claim(self) -> dict[str, Any]:
        return {
            "description": "A claim as its leaf sent it, and how it stands; `spec` may be empty.",
            "type": "object",
            "properties": {
                "apiVersion": {"const": claim_codec.API_VERSION},
                "kind": {"const": claim_codec.KIND},
                "metadata": {"type": "object", "required": ["name"]},
                "spec": {"type": "object"},
                "status": self.of(claims.ClaimStatus),
                "waiting": self.of(claims.ClaimReport),
            },
            "required": ["apiVersion", "kind", "metadata", "spec", "status"],
            "additionalProperties": False,
        }


def schema() -> dict[str, Any]:
    """Return the schema of every document."""
    made = Schema()
    documents = []
    for kind in KINDS:
        documents.append(made.of(kind))
        made.definitions[kind.__name__] = _headed(kind, made.definitions[kind.__name__])
    # `enroll log -f` prints entries one by one, and in a list an entry has no head of its own.
    made.definitions["AuditEntryLine"] = _headed(AuditEntry, made.definitions["AuditEntry"])
    documents.append({"$ref": "#/$defs/AuditEntryLine"})
    documents += [made.of(claims.ClaimReport), made.of(resource_reports.ResourceReport)]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://routerd.net/schema/report-v1.json",
        "title": f"Documents of routerd, {API_VERSION}",
        "anyOf": documents,
        "$defs": dict(sorted(made.definitions.items())),
    }


def _headed(kind: type[Any], definition: Mapping[str, Any]) -> dict[str, Any]:
    head = {"apiVersion": {"const": API_VERSION}, "kind": {"const": kind.__name__}}
    return {
        **definition,
        "properties": {**head, **definition["properties"]},
        "required": [*head, *definition["required"]],
    }


def text() -> str:
    """Return the schema as the file has it."""
    return json.dumps(schema(), indent=2) + "\n"


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(text())
