"""What waits for a neighbour, and which neighbour gets which path (RFC 4271, RFC 4456). Pure."""

from typing import Any

import attrs


@attrs.frozen(eq=False)
class Best:
    """The best path of a prefix, with the facts that decide where it goes, for all neighbours.

    `key` identifies its source and attributes; two of an equal key are equal and look alike on the wire.
    """

    path: Any  # Any: the library's, as is its source
    source: Any
    prefix: bytes
    originator: str | None
    internal: bool
    of_client: bool
    to_nobody: bool
    to_inside: bool
    key: tuple[int, ...]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Best) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def is_for(self, neighbour: object, *, external: bool, client: bool, router_id: str) -> bool:
        """Say whether a neighbour gets this path: an external one, a client of ours, or neither."""
        if self.to_nobody or self.source is neighbour:
            return False
        if self.source is None:
            return True
        if external:
            return not self.to_inside
        if self.internal and not (self.of_client or client):
            return False  # RFC 4456 section 6
        return self.originator != router_id


@attrs.define(eq=False)
class Outbox:
    """The prefixes that a neighbour has or will have (`held`), and what waits for it (`pending`).

    A pending prefix without a path is a withdrawal. `others` are the library's own messages.
    """

    held: set[bytes] = attrs.field(factory=set)
    pending: dict[bytes, Best | None] = attrs.field(factory=dict)
    others: list[Any] = attrs.field(factory=list)

    def announce(self, best: Best) -> None:
        """Queue a path in the place of what waits for its prefix."""
        self.pending[best.prefix] = best
        self.held.add(best.prefix)

    def withdraw(self, prefix: bytes) -> bool:
        """Withdraw a prefix from a neighbour that has it; say whether it has."""
        if prefix not in self.held:
            return False
        self.held.discard(prefix)
        self.pending[prefix] = None
        return True

    def take(self) -> dict[bytes, Best | None]:
        """Remove and return what waits."""
        taken, self.pending = self.pending, {}
        return taken

    def clear(self) -> None:
        """Forget everything: the session is over."""
        self.held.clear()
        self.pending.clear()
        self.others.clear()
