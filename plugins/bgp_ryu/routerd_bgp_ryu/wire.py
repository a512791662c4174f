"""Messages between the daemon and the speaker's process: one JSON object in a line, versioned.

A request carries `id` and `op`; its answer the same `id` and `result`, or `error`. The child also
sends `{"event": "changed"}` when routes or sessions have changed; the daemon then asks. Values are
the tables' own, converted by field.

Requests: `hello`, `subscribe` (send me changes; a subscriber is in charge), `observe` (what the speaker
runs), `snapshot` (routes, and which speakers were refused; null without a speaker), `states`, `speaker`,
`apply` (changes of one table; the result is what was refused, by key), `stop`. The daemon stops and
replaces a child of another version.
"""

import json
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, TypeVar

import cattrs

from routerd.model.addresses import IPAddress, IPNetwork

VERSION = 5
MAX_LINE = 64 << 20
"""Bytes of the longest message: 200 leaves with 4,096 prefixes each fit."""

MAX_REQUEST = 8 << 20
"""Bytes of the longest request: a policy with some 100,000 prefixes."""

T = TypeVar("T")
Document = dict[str, Any]  # Any: JSON


_CONVERTER = cattrs.Converter()
for _type in (IPv4Address, IPv4Network, IPv6Address, IPv6Network):
    _CONVERTER.register_unstructure_hook(_type, str)
    _CONVERTER.register_structure_hook(_type, lambda value, kind: kind(value))
_CONVERTER.register_structure_hook(IPNetwork, lambda value, _: ip_network(value))
_CONVERTER.register_structure_hook(IPAddress, lambda value, _: ip_address(value))
_CONVERTER.register_structure_hook(
    IPAddress | None, lambda value, _: None if value is None else ip_address(value)
)


def _sorted_set(value: frozenset[object]) -> list[str]:
    return sorted(str(item) for item in value)


_CONVERTER.register_unstructure_hook_func(
    lambda kind: getattr(kind, "__origin__", None) is frozenset, _sorted_set
)


def to_document(value: object) -> Document:
    """Return a frozen value as JSON."""
    document: Document = _CONVERTER.unstructure(value)
    return document


def from_document(document: Document, kind: type[T]) -> T:
    """Return the value of type `kind` that `document` holds."""
    return _CONVERTER.structure(document, kind)


def encode(message: Document) -> bytes:
    """Return a message as one line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Document:
    """Return the message in a line; `ValueError` when it is not a JSON object."""
    try:
        message = json.loads(line)
    except RecursionError:
        raise ValueError("a message is nested too deeply") from None
    if not isinstance(message, dict):
        raise ValueError("a message must be a JSON object")  # noqa: TRY004 - one error type for bad input
    return message
