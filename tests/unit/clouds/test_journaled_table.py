"""A cloud's table with a memory: what it passes on, and what an interrupted change leaves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from routerd.clouds.journal import JournaledTable
from routerd.errors import (
    NotOwnedError,
    PermanentError,
    StoreError,
    SupersededError,
    TransientError,
    UnsupportedError,
)
from routerd.model.change import Change, DesiredTable
from routerd.reconcile.desired import Desired
from routerd.reconcile.loop import Binding, Loop
from routerd.testing.clock import FakeClock
from routerd.testing.context import RecordingLogger
from routerd.testing.tables import FakeTable


class Book:
    """A journal in memory; what begins is ours until it is noted otherwise."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str]] = []
        self.full = False
        self.full_at_the_end = False

    def begin(self, scope: str, table: str, changes: Iterable[Change[Any, Any]]) -> tuple[int, ...]:
        if self.full:
            raise StoreError("the disk is full")
        first = len(self.entries)
        self.entries += [(str(change.key), "open") for change in changes]
        return tuple(range(first, len(self.entries)))

    def begin_undo(self, scope: str, table: str, change: Change[Any, Any], *, undoes: int) -> int:
        (number,) = self.begin(scope, table, [change])
        return number

    def finish(self, outcomes: Mapping[int, str]) -> None:
        if self.full_at_the_end:
            raise StoreError("the disk is full")
        for number, outcome in outcomes.items():
            self.entries[number] = (self.entries[number][0], outcome)

    def owned_keys(self, scope: str, table: str) -> frozenset[str]:
        if self.full:
            raise StoreError("the disk is full")
        return frozenset(key for key, _ in self.entries)


def journaled(table: Any, book: Book) -> JournaledTable:
    return JournaledTable(table, book, scope="aws", name="routes")


def create(key: str) -> Change[str, int]:
    return Change(key=key, before=None, after=1)


class Lenient(FakeTable[str, int]):
    def agrees(self, desired: int, observed: int) -> bool:
        return desired % 10 == observed % 10


async def test_a_table_that_says_what_agrees_is_asked_through_the_journal() -> None:
    book, table = Book(), Lenient({"a": 11})
    loop = Loop(
        [Binding(name="t", role="fabric-routes", table=journaled(table, book))],
        derive=lambda: Desired(tables={"t": DesiredTable(values={"a": 1})}),
        clock=FakeClock(),
        log=RecordingLogger(),
    )
    assert not await loop.run_once("host")
    assert table.writes == []
    assert loop.reports()["t"].settled


async def test_a_table_that_does_not_is_compared() -> None:
    agrees = journaled(FakeTable(), Book()).agrees
    assert agrees(1, 1)
    assert not agrees(1, 11)


async def test_a_call_that_breaks_off_leaves_its_entries_open() -> None:
    class Breaking(FakeTable[str, int]):
        async def apply(self, changes: Any) -> Mapping[str, Any]:
            raise TransientError("the connection broke")

    book = Book()
    with pytest.raises(TransientError):
        await journaled(Breaking(), book).apply([create("a")])
    assert book.entries == [("a", "open")], "it may have been made, so it has to count as ours"


async def test_how_each_key_ended_is_noted() -> None:
    """Only what says that it is not ours, or cannot be done at all, has certainly not happened."""
    refusals = {"b": PermanentError("quota"), "c": NotOwnedError("leads to igw"), "d": UnsupportedError("no")}
    book, table = Book(), FakeTable[str, int](refusals=refusals)
    await journaled(table, book).apply([create(key) for key in "abcd"])
    assert book.entries == [
        ("a", "done"),
        ("b", "failed: quota"),
        ("c", "refused: leads to igw"),
        ("d", "refused: no"),
    ]


async def test_a_superseded_change_is_told_once_and_is_not_a_failure() -> None:
    found = {"a": SupersededError("leads to X"), "b": PermanentError("quota")}
    book, log = Book(), RecordingLogger()
    table = JournaledTable(FakeTable(refusals=found), book, scope="aws", name="routes", log=log)
    failures = await table.apply([create("a"), create("b")])
    assert set(failures) == {"b"}
    assert book.entries == [("a", "superseded: leads to X"), ("b", "failed: quota")]
    assert [str(each) for each in log.entries] == ["info cloud.superseded profile=aws key=a found=leads to X"]


async def test_a_superseded_change_is_not_foreseen_to_fail() -> None:
    class Foreseeing(FakeTable[str, int]):
        def foresee(self, changes: Any) -> Mapping[str, Any]:
            return {"a": SupersededError("leads to X"), "b": PermanentError("quota")}

    assert set(journaled(Foreseeing(), Book()).foresee([create("a"), create("b")])) == {"b"}


async def test_an_undo_that_is_superseded_says_what_is_there() -> None:
    book = Book()
    table = journaled(FakeTable(refusals={"a": SupersededError("leads to X")}), book)
    with pytest.raises(SupersededError, match="leads to X"):
        await table.undo(create("a"), undoes=7)
    assert book.entries == [("a", "superseded: leads to X")]


async def test_a_disk_that_is_full_at_the_end_leaves_the_change_and_an_open_entry() -> None:
    book, table = Book(), FakeTable[str, int](refusals={"b": PermanentError("quota")})
    book.full_at_the_end = True
    failures = await journaled(table, book).apply([create("a"), create("b")])
    assert (table.content, set(failures)) == ({"a": 1}, {"b"})
    assert book.entries == [("a", "open"), ("b", "open")]


async def test_without_a_journal_nothing_is_made_and_everything_is_tried_again() -> None:
    book, table = Book(), FakeTable[str, int]()
    book.full = True
    failures = await journaled(table, book).apply([create("a"), create("b")])
    assert set(failures) == {"a", "b"}
    assert all(error.retryable for error in failures.values())
    assert table.content == {}
    with pytest.raises(TransientError, match="the journal cannot be read"):
        await journaled(table, book).observe()


async def test_what_is_ours_is_what_the_journal_said_at_the_last_look() -> None:
    book, table = Book(), FakeTable[str, int]()
    with_memory = journaled(table, book)
    await with_memory.apply([create("a")])
    assert not with_memory.permits(Change(key="a", before=1, after=None))
    await with_memory.observe()
    assert with_memory.permits(Change(key="a", before=1, after=None))
    assert not with_memory.permits(Change(key="b", before=1, after=None))
