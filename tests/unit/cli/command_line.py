"""Runs `routerd` in this process, as a shell would see it; validates every JSON document it prints."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from typing import Any
from unittest import mock

import attrs
import jsonschema
from tests.report_schema import FILE

from routerd.cli import main


@attrs.frozen
class Done:
    """What a command left behind."""

    status: int
    out: str
    err: str


def routerd(*words: object) -> Done:
    out, err = io.StringIO(), io.StringIO()
    argv = ["routerd", *map(str, words)]
    status: object = 0
    with mock.patch.object(sys, "argv", argv), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as exit_:
            status = exit_.code
    assert isinstance(status, int)
    if "--json" in argv and out.getvalue():
        validated(json.loads(out.getvalue()))
    return Done(status, out.getvalue(), err.getvalue())


def validated(document: object) -> None:
    """Hold a document against the published schema of its kind."""
    schemas = _schemas()
    kind = document.get("kind") if isinstance(document, dict) else None
    name = {"SAMEnrollmentClaim": "ClaimReport"}.get(str(kind), str(kind))
    found = schemas.get(name, schemas["ResourceReport"])
    problems = [f"{each.json_path}: {each.message}" for each in found.iter_errors(document)]
    assert problems == []


@cache
def _schemas() -> dict[str, Any]:  # Any: the library has no types
    schema = json.loads(FILE.read_text())
    definitions = schema["$defs"]
    return {
        name: jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": definitions})
        for name in definitions
    }
