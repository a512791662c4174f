"""The keyed table, the one shape in which a provider offers something to reconcile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from routerd.errors import ProviderError
from routerd.model.change import Change

K = TypeVar("K")
V = TypeVar("V")


class Table(Protocol[K, V]):
    """Something outside that can be read whole and changed by key.

    Both methods are called from one task at a time and under a deadline; cancellation may come
    at any await and must leave nothing half-done that `observe` cannot see.
    """

    async def observe(self) -> Mapping[K, V]:
        """Return everything that is ours, read from the world and not from memory.

        Raises `ProviderError` when the world cannot be read; then nothing is changed.
        """
        ...

    async def apply(self, changes: Sequence[Change[K, V]]) -> Mapping[K, ProviderError]:
        """Make the changes and return the failures by key; an empty mapping means that all hold.

        The failure of one key must not keep the others from being made. A creation whose key
        exists with the desired value is a success; a deletion of what is gone too. What stands
        in the way and is not ours is a `NotOwnedError` and is left alone. `routerd down` applies
        even when there is no change: then only what serves no key any longer may be removed.
        """
        ...


class ForeseeingTable(Table[K, V], Protocol[K, V]):
    """A table that can tell before a change is made that it would be refused.

    The loop asks after each reading; what is refused then is not applied, shows in the plan with its
    reason, and is tried again as any failure is.
    """

    def foresee(self, changes: Sequence[Change[K, V]]) -> Mapping[K, ProviderError]:
        """Return which of all `changes` that are due would fail, judged by the last `observe`.

        Does no I/O. A quota that leaves room for some of them refuses the others with its number, what
        is in use, and how to raise it; what is not ours stands in the way by name.
        """
        ...


class AgreeingTable(Table[K, V], Protocol[K, V]):
    """A table whose world fills in what a desired value leaves open, such as a route's device.

    The loop asks `agrees` instead of comparing for equality where a table has it.
    """

    def agrees(self, desired: V, observed: V) -> bool:
        """Say whether `observed` is what `desired` asks for."""
        ...
