"""The table of rules in the kernel, as the loop reads and changes it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from routerd.errors import NotOwnedError, ProviderError
from routerd.model.change import Change
from routerd_fabric_policy.ruleset import FAMILY, TABLE, Element, Held, Ruleset
from routerd_fabric_policy.script import Sets

RULES = "rules"
"""The key of the chains. They are one value: a list of rules of which half is new says what nobody wrote."""

MEMBER = "member"
"""The value of each member of a set."""

Key = str | Element
Value = str | Ruleset


class PacketFilter(Protocol):
    """The place that holds our table: the kernel, or a test's memory."""

    async def read(self) -> Held:
        """Return what is there under the name of our table."""

    async def change(self, held: Held, ruleset: Ruleset | None, sets: Sets) -> None:
        """Turn `held` into these rules and members of sets in one step; without any the table goes."""


class RulesTable:
    """Our table in the kernel: the key `rules` has the chains, an `Element` each member of a set.

    Implements `spi.Table`. All changes of one call are one transaction: it succeeds whole or fails whole.
    """

    def __init__(self, packet_filter: PacketFilter, refuse_dry_run: Callable[[], None]) -> None:
        self._filter = packet_filter
        self._refuse_dry_run = refuse_dry_run

    async def observe(self) -> Mapping[Key, Value]:
        """Return what the kernel holds; a table without our mark is not ours and has nothing of ours."""
        held = await self._filter.read()
        if not held.ours:
            return {}
        return _content(held)

    async def apply(self, changes: Sequence[Change[Key, Value]]) -> Mapping[Key, ProviderError]:
        """Make all changes in one transaction."""
        try:
            await self._apply(changes)
        except ProviderError as error:
            return {change.key: error for change in changes}
        return {}

    async def _apply(self, changes: Sequence[Change[Key, Value]]) -> None:
        self._refuse_dry_run()
        held = await self._filter.read()
        if held.exists and not held.ours:
            if any(change.after is not None for change in changes):
                raise NotOwnedError(
                    f"nftables: table {FAMILY} {TABLE} exists and is not ours; rename or delete it"
                )
            return
        content = _content(held)
        for change in changes:
            if change.after is None:
                content.pop(change.key, None)
            else:
                content[change.key] = change.after
        rules = content.pop(RULES, None)
        sets: dict[str, set[str]] = {}
        for key in content:
            if isinstance(key, Element):
                sets.setdefault(key.set, set()).add(key.member)
        await self._filter.change(
            held,
            rules if isinstance(rules, Ruleset) else None,
            {name: frozenset(members) for name, members in sets.items()},
        )


def _content(held: Held) -> dict[Key, Value]:
    found: dict[Key, Value] = {
        Element(set=name, member=each): MEMBER for name, members in held.sets.items() for each in members
    }
    if held.ruleset != Ruleset():
        found[RULES] = held.ruleset
    return found
