"""The description of a fake as a provider."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from routerd.spi import Capability, NoOptions, PluginContext, Provider

T = TypeVar("T")


def describe(kind: str, make: Callable[[PluginContext], T], *capabilities: Capability) -> Provider[T]:
    """Return a provider without options that `make` creates."""

    def create(context: PluginContext, options: object) -> T:
        if not isinstance(options, NoOptions):
            raise TypeError(f"the fakes have no options, got {type(options).__name__}")
        return make(context)

    return Provider(kind=kind, create=create, capabilities=frozenset(capabilities))
