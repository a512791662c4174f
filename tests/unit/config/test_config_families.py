"""A file may hold IPv6 only where it works: every other field refuses it with line and field."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any

import attrs
import pytest
import yaml

from routerd.config.kinds import BUILTIN
from routerd.config.structure import INVALID, Structurer
from routerd.model.addresses import IPAddress, IPInterface, IPNetwork
from routerd.model.specs.keys import fields_of

EXAMPLES = {
    IPv4Address: ("192.0.2.1", "2001:db8::1"),
    IPv4Network: ("192.0.2.0/24", "2001:db8::/64"),
    IPv4Interface: ("192.0.2.1/24", "2001:db8::1/64"),
}
BOTH = {"ControlAPI.listenAddress", "ControlAPI.allowCIDRs"}
"""The fields in which IPv6 works."""


def addresses(kind: Any) -> Iterator[type]:
    """Yield the IPv4 types of the addresses in a type, with or without IPv6 beside them."""
    if kind in EXAMPLES:
        yield kind
    for part in typing.get_args(kind):
        yield from addresses(part)


def fields(cls: type[Any], where: str) -> Iterator[tuple[str, Any, type]]:
    """Yield each field of a spec that holds addresses, with its type and that of the address."""
    for key, (_, kind) in fields_of(cls).items():  # type: ignore[arg-type]  # a class is hashable
        path = f"{where}.{key}"
        for each in addresses(kind):
            yield path, kind, each
        for part in _parts(kind):
            yield from fields(part, path)


def _parts(kind: Any) -> Iterator[type[Any]]:
    if inspect.isclass(kind) and attrs.has(kind):
        yield kind
    for part in typing.get_args(kind):
        yield from _parts(part)


FIELDS = [each for kind in BUILTIN for each in fields(kind.spec, kind.kind)]


def structured(kind: Any, text: str) -> tuple[Any, Structurer]:
    structurer = Structurer(file="r.yaml")
    written = f"\n{text}" if not _is_list(kind) else f"\n- {text}"
    if typing.get_origin(kind) is not None and "Mapping" in str(typing.get_origin(kind)):
        written = f"\nnode: [{text}]"
    node = yaml.compose(written)
    assert node is not None
    return structurer.structure(node, kind, "spec.field"), structurer


def _is_list(kind: Any) -> bool:
    return tuple in (typing.get_origin(kind), *map(typing.get_origin, typing.get_args(kind)))


def test_the_schema_has_fields_of_each_sort() -> None:
    assert len(FIELDS) > 30
    assert {each for _, _, each in FIELDS} == set(EXAMPLES)
    assert {path for path, _, _ in FIELDS} >= {
        *BOTH,
        "IPv4StaticRoute.destination",
        "SAMRRSet.members.endpoint",
    }


@pytest.mark.parametrize(("path", "kind", "each"), FIELDS, ids=[path for path, _, _ in FIELDS])
def test_ipv6_is_refused_in_words_where_it_does_not_work(path: str, kind: Any, each: type) -> None:
    four, six = EXAMPLES[each]
    value, structurer = structured(kind, four)
    assert value is not INVALID
    assert structurer.problems == []
    value, structurer = structured(kind, f'"{six}"')
    if path in BOTH:
        assert structurer.problems == []
        return
    assert value is INVALID
    (problem,) = structurer.problems
    assert (problem.line, problem.file) == (2, "r.yaml")
    assert problem.path.startswith("spec.field")
    assert f'"{six}"' in problem.message
    assert problem.hint == "IPv6 does not work here; write IPv4"


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (IPAddress, "2001:db8::1", IPv6Address("2001:db8::1")),
        (IPAddress | None, "192.0.2.1", IPv4Address("192.0.2.1")),
        (IPNetwork, "2001:db8::/64", IPv6Network("2001:db8::/64")),
        (IPInterface, "2001:db8::1/64", IPv6Interface("2001:db8::1/64")),
        (IPv6Interface, "2001:db8::1/64", IPv6Interface("2001:db8::1/64")),
    ],
    ids=str,
)
def test_options_of_a_plugin_may_hold_both_families(kind: Any, text: str, value: object) -> None:
    found, structurer = structured(kind, f'"{text}"')
    assert structurer.problems == []
    assert found == value
