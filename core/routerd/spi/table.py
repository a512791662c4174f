"""The keyed table, the one shape in which a provider offers something to reconcile."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from routerd.errors import ProviderError
from routerd.model.addresses import first_ipv6, no_ipv6
from routerd.model.change import Change

K = TypeVar("K")
V = TypeVar("V")


class Table(Protocol[K, V]):
    """Something outside that can be read whole and changed by key.

    The loop calls both methods from one task at a time and under a deadline. Cancellation may come at
    any await; it must leave nothing half-done that `observe` cannot see.
    """

    async def observe(self) -> Mapping[K, V]:
        """Return everything that is ours, read from the world and not from memory.

        Raises `ProviderError` when the world cannot be read; then nothing is changed.
        """

    async def apply(self, changes: Sequence[Change[K, V]]) -> Mapping[K, ProviderError]:
        """Make the changes and return the failures by key; an empty mapping means that all hold.

        The failure of one key must not keep the others from being made. A creation whose key
        exists with the desired value is a success; a deletion of what is gone too. A change that finds
        something foreign in its way is a `NotOwnedError` and leaves it alone.

        A table of cloud routes reports a removal that finds something foreign as a `SupersededError`, by
        the rule of `spi.site_routes`, where it was a `NotOwnedError`: ours has gone, which is what was
        asked. The core takes that out of the failures and journals `superseded`. So `routerd down` lists
        no failure for a route that somebody else has taken: no remedy could follow from it.

        `routerd down` applies even when there is no change: then only what serves no key any longer may
        be removed.
        """


async def apply_each(
    changes: Iterable[Change[K, V]], make: Callable[[Change[K, V]], Awaitable[None]]
) -> dict[K, ProviderError]:
    """Make changes one after the other and return the failures by key, so that none stops another.

    Added in 1.0.
    """
    failures: dict[K, ProviderError] = {}
    for change in changes:
        try:
            await make(change)
        except ProviderError as error:
            failures[change.key] = error
    return failures


def only_ipv4(
    changes: Sequence[Change[K, V]], subject: Callable[[K], str]
) -> tuple[Sequence[Change[K, V]], dict[K, ProviderError]]:
    """Return the changes without IPv6, and an `UnsupportedError` by key for each of the others.

    For a table that cannot take IPv6. `subject` names a key in the message.

    Added in 1.0.
    """
    found = {change.key: first_ipv6((change.key, change.after)) for change in changes}
    failures: dict[K, ProviderError] = {
        key: no_ipv6(subject(key), value) for key, value in found.items() if value is not None
    }
    return [change for change in changes if change.key not in failures], failures


class ForeseeingTable(Table[K, V], Protocol[K, V]):
    """A table that knows before a change is made that the world would refuse it.

    The loop asks after each reading. It does not apply a change that is refused here; the plan shows
    the reason, and the loop retries it as it retries any failure.
    """

    def foresee(self, changes: Sequence[Change[K, V]]) -> Mapping[K, ProviderError]:
        """Return which of all `changes` that are due would fail, judged by the last `observe`.

        Does no I/O. A quota that leaves room for some of them refuses the others with its number, what
        is in use, and how to raise it. A foreign thing in the way is named. A `SupersededError` may be
        among them; the core takes it out.
        """


class AgreeingTable(Table[K, V], Protocol[K, V]):
    """A table whose world fills in what a desired value leaves open, such as a route's device.

    Where a table has `agrees`, the loop asks it instead of comparing for equality.
    """

    def agrees(self, desired: V, observed: V) -> bool:
        """Say whether `observed` needs no change to be what `desired` asks for."""
