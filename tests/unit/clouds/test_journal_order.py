"""The journal notes a change before it is made, and its outcome after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from routerd.clouds.journal import JournaledTable
from routerd.errors import StoreError, TransientError
from routerd.model.change import Change
from routerd.testing.tables import FakeTable


class Journal:
    """Remembers in which order things happened."""

    def __init__(self, story: list[str], *, full: bool = False) -> None:
        self.story = story
        self.full = full

    def begin(self, scope: str, table: str, changes: Iterable[Change[Any, Any]]) -> tuple[int, ...]:
        if self.full:
            raise StoreError("the disk is full")
        first = len(self.story)
        self.story += [f"begin {change.key}" for change in changes]
        return tuple(range(first, len(self.story)))

    def begin_undo(self, scope: str, table: str, change: Change[Any, Any], *, undoes: int) -> int:
        (number,) = self.begin(scope, table, [change])
        return number

    def finish(self, outcomes: Mapping[int, str]) -> None:
        self.story += [f"finish {outcome}" for outcome in outcomes.values()]

    def owned_keys(self, scope: str, table: str) -> frozenset[str]:
        self.story.append("owned")
        return frozenset({"a"})


class Telling(FakeTable[str, int]):
    story: list[str]

    async def apply(self, changes: Any) -> Mapping[str, Any]:
        self.story.append("apply")
        return await super().apply(changes)


def telling(**options: Any) -> Telling:
    table = Telling(**options)
    table.story = []
    return table


async def test_a_change_is_written_down_before_it_is_made() -> None:
    table = telling(refusals={"b": TransientError("no")})
    journaled = JournaledTable(table, Journal(table.story), scope="aws", name="routes")
    changes = [Change(key=key, before=None, after=1) for key in ("a", "b")]
    assert set(await journaled.apply(changes)) == {"b"}
    assert table.story == ["begin a", "begin b", "apply", "finish done", "finish failed: no"]


async def test_the_journal_is_read_once_for_a_look_and_says_what_is_ours() -> None:
    table = telling(content={"a": 1, "b": 2})
    journaled = JournaledTable(table, Journal(table.story), scope="aws", name="routes")
    assert not journaled.permits(Change(key="a", before=1, after=None)), (
        "nothing is ours before the first look"
    )
    assert await journaled.observe() == {"a": 1, "b": 2}
    assert [key for key in table.content if journaled.permits(Change(key=key, before=1, after=None))] == ["a"]
    assert table.story == ["owned"]


async def test_what_cannot_be_written_down_is_not_made() -> None:
    table = telling()
    journaled = JournaledTable(table, Journal(table.story, full=True), scope="aws", name="routes")
    failures = await journaled.apply([Change(key="a", before=None, after=1)])
    assert "the disk is full" in str(failures["a"])
    assert (table.content, table.story) == ({}, [])
