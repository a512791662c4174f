"""YAML nodes into typed values; collects every problem with its line and field path.

An `attrs` class is a mapping whose keys are its attributes in camel case, or the `key` in an
attribute's metadata. A value of another type is a problem, not a conversion: `yes` is neither a
truth value nor an address.
"""

import difflib
import re
import types
import typing
from collections.abc import Callable, Mapping
from datetime import timedelta
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_interface,
)
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union

import attrs
import yaml

from routerd.config.document import describe, ipv6_hint, is_null, line_of, plain, repeated_keys
from routerd.errors import Problem
from routerd.model.specs.families import readable
from routerd.model.specs.keys import fields_of

T = TypeVar("T")


class Misread(ValueError):
    """A number that YAML and a person read differently; `hint` is the remedy."""

    def __init__(self, message: str, hint: str) -> None:
        self.hint = hint
        super().__init__(message)


INVALID: Any = object()  # Any: it replaces a value of any type


@attrs.define
class Structurer:
    """Converts nodes of one file; `problems` fills up, `lines` maps field paths to lines."""

    file: str
    lenient: bool = False
    problems: list[Problem] = attrs.field(factory=list)
    lines: dict[str, int] = attrs.field(factory=dict)
    resource: str = ""
    _meant: set[str] = attrs.field(factory=set, init=False)

    def report(
        self, node: yaml.Node, path: str, message: str, hint: str = "", severity: str = "error"
    ) -> Any:
        """Note a problem and return `INVALID`."""
        self.problems.append(
            Problem(
                file=self.file,
                line=line_of(node),
                resource=self.resource,
                path=path,
                message=message,
                hint=hint,
                severity=severity,
            )
        )
        return INVALID

    def forget_guesses(self) -> None:
        """Begin another resource: a guess about a misspelt field holds for one resource only."""
        self._meant.clear()

    def structure(self, node: yaml.Node, wanted: Any, path: str) -> Any:
        """Return the value of `node` as the type `wanted`, or report a problem and return `INVALID`."""
        self.lines[path] = line_of(node)
        while hasattr(wanted, "__supertype__"):
            wanted = wanted.__supertype__
        if wanted in (object, Any):
            return self._plain(node, path)
        origin = typing.get_origin(wanted)
        if origin is Annotated:
            return self.structure(node, readable(wanted), path)
        if origin in (Union, types.UnionType):
            return self._union(node, wanted, path)
        if origin is Literal:
            return self._literal(node, typing.get_args(wanted), path)
        if origin in (tuple, frozenset, list):
            return self._sequence(node, origin, typing.get_args(wanted)[0], path)
        if origin is not None and issubclass(origin, Mapping):
            return self._mapping(node, typing.get_args(wanted)[1], path)
        if isinstance(wanted, type) and attrs.has(wanted):
            return self.attributes(node, wanted, path)
        return self._scalar(node, wanted, path)

    def attributes(self, node: yaml.Node, cls: type[Any], path: str) -> Any:
        """Return an instance of the `attrs` class `cls`."""
        if is_null(node):
            node = yaml.MappingNode(node.tag, [], node.start_mark, node.end_mark)
        if not isinstance(node, yaml.MappingNode):
            return self.report(node, path, f"expected a mapping, got {describe(node)}")
        fields = fields_of(cls)  # type: ignore[arg-type]  # a class is hashable; mypy doubts type[Any]
        entries = self.entries(node, path, fields)
        values: dict[str, Any] = {}
        valid = True
        for key, (field, kind) in fields.items():
            below = _join(path, key)
            if key in entries:
                value = self.structure(entries[key], kind, below)
                valid = valid and value is not INVALID
                values[field.name.lstrip("_")] = value
            elif field.default is attrs.NOTHING:
                # A misspelt field is one mistake, not an unknown field and a missing one.
                if below not in self._meant:
                    self.report(node, below, "is required")
                valid = False
        if not valid:
            return INVALID
        try:
            return cls(**values)
        except ValueError as error:
            return self.report(node, path, str(error))

    def entries(self, node: yaml.MappingNode, path: str, known: Mapping[str, object]) -> dict[str, yaml.Node]:
        """Return the entries of a mapping by key; reports repeated and unknown keys."""
        found: dict[str, yaml.Node] = {}
        for key_node, value in node.value:
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else ""
            if not key:
                self.report(key_node, path, "keys must be plain text")
            elif key in found:
                self.report(key_node, _join(path, key), "is given twice")
            elif key not in known:
                close = difflib.get_close_matches(key, known, n=1) or [
                    name for name in known if name.lower() == key.lower()
                ]
                hint = (
                    f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(known)) or 'none'}"
                )
                severity = "warning" if self.lenient else "error"
                if not self.lenient:
                    self._meant.update(_join(path, name) for name in close)
                self.report(key_node, _join(path, key), "unknown field", hint, severity)
            else:
                found[key] = value
        return found

    def _plain(self, node: yaml.Node, path: str) -> Any:
        again = list(repeated_keys(node, path))
        for key, below in again:
            self.report(key, below, "is given twice")
        try:
            return INVALID if again else plain(node)
        except (TypeError, ValueError) as error:
            return self.report(node, path, f"cannot be read: {error}")

    def _union(self, node: yaml.Node, wanted: Any, path: str) -> Any:
        options = [option for option in typing.get_args(wanted) if option is not type(None)]
        if len(options) < len(typing.get_args(wanted)) and is_null(node):
            return None
        if len(options) == 1:
            return self.structure(node, options[0], path)
        before = len(self.problems)
        for option in options:
            value = self.structure(node, option, path)
            if value is not INVALID:
                del self.problems[before:]
                return value
        first = self.problems[before]
        del self.problems[before:]
        self.problems.append(first)
        return INVALID

    def _literal(self, node: yaml.Node, options: tuple[object, ...], path: str) -> Any:
        try:
            value = plain(node) if isinstance(node, yaml.ScalarNode) else None
        except ValueError:
            value = None
        value = "" if value is None and "" in options else value
        if isinstance(value, bool) and node.value in options:
            value = node.value  # YAML takes on, off, yes and no for truth values
        if value in options:
            return value
        known = [str(option) for option in options if option != ""]
        close = difflib.get_close_matches(str(value), known, n=1)
        hint = f'did you mean "{close[0]}"?' if close else ""
        return self.report(node, path, f"{describe(node)} is not one of {', '.join(known)}", hint)

    def _sequence(self, node: yaml.Node, origin: type[Any], item: Any, path: str) -> Any:
        if is_null(node):
            return origin()
        if not isinstance(node, yaml.SequenceNode):
            return self.report(node, path, f"expected a list, got {describe(node)}")
        values = [self.structure(each, item, f"{path}[{index}]") for index, each in enumerate(node.value)]
        return INVALID if any(value is INVALID for value in values) else origin(values)

    def _mapping(self, node: yaml.Node, item: Any, path: str) -> Any:
        if is_null(node):
            return {}
        if not isinstance(node, yaml.MappingNode):
            return self.report(node, path, f"expected a mapping, got {describe(node)}")
        keys = {str(key.value): key for key, _ in node.value}
        entries = self.entries(node, path, keys)
        values = {key: self.structure(each, item, _join(path, key)) for key, each in entries.items()}
        return INVALID if any(value is INVALID for value in values.values()) else values

    def _scalar(self, node: yaml.Node, wanted: type[Any], path: str) -> Any:
        parse, noun = _SCALARS.get(wanted, (None, ""))
        if parse is None:
            raise TypeError(f"{path}: fields of type {wanted!r} cannot be read from a file")
        if not isinstance(node, yaml.ScalarNode) or is_null(node):
            return self.report(node, path, f"expected {noun}, got {describe(node)}")
        try:
            return parse(node)
        except Misread as error:
            return self.report(node, path, str(error), error.hint)
        except ValueError as error:
            reason = str(error)
            hint = ""
            if wanted in _IPV4 and (hint := ipv6_hint(node.value)):
                reason = ""
            if "host bits set" in reason:
                reason, hint = "host bits set", f"did you mean {ip_interface(node.value.strip()).network}?"
            if wanted is str and node.tag.endswith(":bool"):
                hint = f'YAML takes it for a truth value; write "{node.value}" with quotes'
            detail = f" ({reason})" if wanted in _EXPLAINED and reason else ""
            return self.report(node, path, f"expected {noun}, got {describe(node)}{detail}", hint)


_IPV4 = (IPv4Address, IPv4Network, IPv4Interface)
_EXPLAINED = (IPv4Network, IPv4Interface, IPv6Network, IPv6Interface)
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")


def parse_duration(text: str) -> timedelta:
    """Return a duration in Go's notation: `10s`, `15m`, `1h30m`."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(text)
    try:
        return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))
    except OverflowError as error:
        raise ValueError(text) from error


def _text(node: yaml.ScalarNode) -> str:
    if node.tag == "tag:yaml.org,2002:str" or node.style:
        return str(node.value)
    if node.tag.endswith((":int", ":float", ":timestamp")):
        return str(node.value)
    raise ValueError(node.value)


_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")


def _read_otherwise(node: yaml.ScalarNode, value: object) -> Misread | None:
    """Return the error of a number that YAML 1.1 reads as another one than a person: 0123, 8:38, 1_000."""
    if _DECIMAL.fullmatch(node.value) or node.style:
        return None
    digits = node.value.lstrip("+-").lstrip("0") or "0"
    hint = f"write {digits}" if digits.isdecimal() else "write it in decimal digits"
    return Misread(f'"{node.value}" is not a plain number; YAML reads it as {value}', hint)


def _integer(node: yaml.ScalarNode) -> int:
    value = plain(node)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(node.value)  # noqa: TRY004 - the caller reports a ValueError with its line
    if (misread := _read_otherwise(node, value)) is not None:
        raise misread
    return value


def _boolean(node: yaml.ScalarNode) -> bool:
    if node.tag != "tag:yaml.org,2002:bool" or str(node.value).lower() not in ("true", "false"):
        raise ValueError(node.value)
    return str(node.value).lower() == "true"


def _number(node: yaml.ScalarNode) -> float:
    value = plain(node)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(node.value)  # noqa: TRY004 - the caller reports a ValueError with its line
    if (misread := _read_otherwise(node, value)) is not None:
        raise misread
    return float(value)


def _from_text(convert: Callable[[str], Any]) -> Callable[[yaml.ScalarNode], Any]:
    return lambda node: convert(str(node.value).strip())


_SCALARS: dict[type[Any], tuple[Callable[[yaml.ScalarNode], Any], str]] = {
    str: (_text, "text"),
    int: (_integer, "an integer"),
    bool: (_boolean, "true or false"),
    float: (_number, "a number"),
    Path: (_from_text(Path), "a path"),
    timedelta: (_from_text(parse_duration), "a duration such as 10s, 15m or 24h"),
    IPv4Address: (_from_text(IPv4Address), "an IPv4 address"),
    IPv4Network: (_from_text(IPv4Network), "an IPv4 prefix such as 10.0.0.0/24"),
    IPv4Interface: (_from_text(IPv4Interface), "an IPv4 address with a prefix length"),
    IPv6Address: (_from_text(IPv6Address), "an IPv6 address"),
    IPv6Network: (_from_text(IPv6Network), "an IPv6 prefix"),
    IPv6Interface: (_from_text(IPv6Interface), "an IPv6 address with a prefix length"),
}


def structure_options(
    node: yaml.Node | None, cls: type[T], *, file: str, resource: str, path: str, lenient: bool = False
) -> tuple[T | None, list[Problem]]:
    """Return options of a plugin as an instance of `cls`, with the problems found."""
    structurer = Structurer(file=file, lenient=lenient, resource=resource)
    if node is None:
        mark = yaml.Mark(file, 0, 0, 0, None, 0)
        node = yaml.MappingNode("tag:yaml.org,2002:map", [], mark, mark)
    value = structurer.attributes(node, cls, path)
    return (None if value is INVALID else value), structurer.problems


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
