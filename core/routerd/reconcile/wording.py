"""Keys and values of tables as text, for logs, the status and the dry run. Pure."""

from collections.abc import Mapping
from typing import Any

import attrs

_NOUNS: Mapping[str, str] = {
    "sysctls": "sysctl",
    "addresses": "address",
    "tunnels.encrypting": "tunnel",
    "peers": "peer",
    "firewall": "firewall.rule",
    "tunnels": "tunnel",
    "routes": "route",
    "speakers": "speaker",
    "import_policies": "import.policy",
    "sessions": "session",
    "advertisements": "advertisement",
    "forwarding": "cloud.forwarding",
    "fabric-routes": "cloud.route",
}


def noun(role: str) -> str:
    """Return the noun for an entry of a table with that role, as log events use it."""
    return _NOUNS.get(role, "subsystem.entry")


def key_text(key: object) -> str:
    """Return a key as a person writes it: the fields with a value of their own, in their order."""
    kind = type(key)
    if not attrs.has(kind) or kind.__str__ is not object.__str__:
        return str(key)
    parts = []
    for field in attrs.fields(kind):
        value = getattr(key, field.name)
        if not field.repr or value == field.default or value in (None, "", ()):
            continue
        parts.append(str(value) if field.default is attrs.NOTHING else f"{_words(field.name)} {value}")
    return " ".join(parts)


def value_text(value: object) -> str:
    """Return a value as `field value, field value`, without secrets and fields at their default."""
    kind = type(value)
    if attrs.has(kind):
        if kind.__str__ is not object.__str__:
            return str(value)
        return ", ".join(_fields(value)) or "as usual"
    if isinstance(value, (frozenset, set)):
        return " ".join(sorted(map(value_text, value)))
    if isinstance(value, (tuple, list)):
        return "; ".join(map(value_text, value))
    return str(value)


def _fields(value: Any) -> list[str]:  # noqa: ANN401 - any attrs value
    parts = []
    for field in attrs.fields(type(value)):
        content = getattr(value, field.name)
        if not field.repr or content == field.default or content in (None, "", (), frozenset()):
            continue
        text = value_text(content)
        # A nested value, such as a next hop, needs no field name.
        parts.append(f"({text})" if attrs.has(type(content)) else f"{_words(field.name)} {text}")
    return parts


def _words(name: str) -> str:
    return name.replace("_", " ")
