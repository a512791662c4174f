"""Kinds of option values: addresses, prefixes, durations, and lists of them."""

from collections.abc import Callable
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Generic, TypeVar

import click

from routerd.config.structure import parse_duration

T = TypeVar("T")


class Value(click.ParamType, Generic[T]):  # type: ignore[type-arg]  # generic in newer click only
    """A value that a function makes from text; the error shows an example."""

    def __init__(self, name: str, make: Callable[[str], T], example: str) -> None:
        self.name = name
        self._make = make
        self._example = example

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> T:
        """Return the value; a default passes unchanged."""
        if not isinstance(value, str):
            return value  # type: ignore[return-value]  # a default of the very type
        try:
            return self._make(value.strip())
        except ValueError:
            self.fail(f"{value!r} is nothing such as {self._example}", param, ctx)


def _host(text: str) -> IPv4Address:
    return IPv4Address(text.removesuffix("/32"))


def _interface(text: str) -> IPv4Interface:
    if "/" not in text:
        raise ValueError(text)
    return IPv4Interface(text)


HOST: Value[IPv4Address] = Value("address", _host, "10.255.16.11")
INTERFACE: Value[IPv4Interface] = Value("address/length", _interface, "10.30.0.21/24")
NETWORK: Value[IPv4Network] = Value("prefix", IPv4Network, "10.80.0.0/16")
DURATION: Value[timedelta] = Value("duration", parse_duration, "10s, 15m or 1h30m")


class Many(click.ParamType, Generic[T]):  # type: ignore[type-arg]  # as above
    """Several values in one text, with commas between; for options that may also be repeated."""

    def __init__(self, each: Value[T] | None = None, name: str = "") -> None:
        self._each = each
        self.name = name or (f"{each.name},..." if each is not None else "text,...")

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[object, ...]:
        """Return the values."""
        parts = [part.strip() for part in str(value).split(",") if part.strip()]
        if not parts:
            self.fail("it is empty", param, ctx)
        return tuple(
            self._each.convert(part, param, ctx) if self._each is not None else part for part in parts
        )


def joined(_: click.Context, __: click.Parameter, value: tuple[tuple[T, ...], ...]) -> tuple[T, ...]:
    """Return the values of a repeated option in one list, each once; a callback of click."""
    return tuple(dict.fromkeys(item for group in value for item in group))
