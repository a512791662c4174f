"""JSON from strangers: refuses what two readers could understand differently, or what costs too much."""

import json
import math

from routerd.model.json_value import JSONValue

DEEPEST = 32
"""Levels of lists and objects; a claim has five."""

LARGEST = 2**63 - 1
"""The largest whole number; a database does not hold a larger one."""


def parse(content: bytes) -> JSONValue:
    """Return the document in UTF-8 that `content` holds; `ValueError` says what is wrong.

    Refused are repeated keys, NaN and infinity, numbers that are too large, halves of characters
    and deep nesting.
    """
    try:
        value: JSONValue = _DECODER.decode(content.decode())
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if content.count(b"[") + content.count(b"{") > DEEPEST and _deeper(value, DEEPEST):
        raise ValueError("it is nested too deeply")
    if b"\\u" in content:
        # An escape can name half of a character, which neither a file nor an answer can hold.
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _once(pairs: list[tuple[str, JSONValue]]) -> dict[str, JSONValue]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:40]!a} is a repeated key")
    return found


def _constant(text: str) -> JSONValue:
    raise ValueError(f"{text} is not a number in JSON")


def _whole(text: str) -> int:
    # The length first: converting very many digits takes long.
    value = int(text) if len(text) <= len(str(-LARGEST)) else LARGEST + 1
    if abs(value) > LARGEST:
        raise ValueError("a number is too large")
    return value


def _real(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number is too large")
    return value


def _deeper(value: JSONValue, limit: int) -> bool:
    level = [value]
    for _ in range(limit + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(level)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_once, parse_constant=_constant, parse_int=_whole, parse_float=_real
)
