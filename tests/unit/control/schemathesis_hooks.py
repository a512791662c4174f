"""Loaded by schemathesis: every other request is about claims that the reflector of the test would admit.

What is generated from the description alone ends at the first signature. So half of the submissions
are a signed claim, most of those with one field replaced by something that was generated.
"""

from __future__ import annotations

import asyncio
import copy
import json
import zlib
from typing import Any

import schemathesis
from tests.unit.admission import enrollment_world as world

from routerd.model.specs.claim_codec import claim_to_document

Body = Any  # JSON

NAMES = [f"leaf-{number}" for number in range(8)]


def _signed(number: int, name: str) -> dict[str, Any]:
    claim = world.claim(
        name, 10 + number, join_nonce=f"nonce-{number}", join_timestamp="2026-06-28T12:00:00Z"
    )
    return claim_to_document(asyncio.run(world.signed(claim)))


CLAIMS = [_signed(number, name) for number, name in enumerate(NAMES)]


def _chance(*of: object) -> int:
    return zlib.crc32(json.dumps(of, default=str).encode())


def _paths(value: Body, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [path] if path else []
    for name in value if isinstance(value, dict) else ():
        found += _paths(value[name], (*path, name))
    return found


def _values(value: Body) -> list[Body]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value, *(found for each in inner for found in _values(each))]


@schemathesis.hook
def map_body(_: schemathesis.HookContext, body: Body) -> Body:
    """Put a claim that could be admitted in the place of a generated one, whole or with one field of it."""
    if not isinstance(body, dict) or not isinstance(body.get("claim"), dict):
        return body
    chance = _chance(body)
    if chance % 4 == 0:
        return body
    claim = copy.deepcopy(CLAIMS[chance // 8 % len(CLAIMS)])
    if chance % 4 > 1:
        *outer, last = _paths(claim)[chance // 64 % len(_paths(claim))]
        place = claim
        for name in outer:
            place = place[name]
        values = _values(body["claim"])
        place[last] = values[chance // 1024 % len(values)]
    return {**body, "claim": claim}


@schemathesis.hook
def map_path_parameters(context: schemathesis.HookContext, parameters: Body) -> Body:
    """Ask for the set that there is, and for claims that were submitted."""
    if not isinstance(parameters, dict) or not isinstance(parameters.get("name"), str):
        return parameters
    chance = _chance(parameters)
    if chance % 2:
        return parameters
    revoked = context.operation is not None and context.operation.path.endswith("/revoke")
    return {**parameters, "name": NAMES[chance // 8 % len(NAMES)] if revoked else "rrs"}


@schemathesis.hook
def map_query(_: schemathesis.HookContext, query: Body) -> Body:
    """Name claims that were submitted."""
    if not isinstance(query, dict) or not isinstance(query.get("claim"), str) or _chance(query) % 2:
        return query
    return {**query, "claim": f"SAMEnrollmentClaim/{NAMES[_chance(query) // 8 % len(NAMES)]}"}
