"""The journal: the entries that it keeps, the end of ownership, approvals and holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

import attrs
import pytest

from routerd.errors import StoreError
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute, FabricRouteKey, RouteTableRef
from routerd.store import Approval, JournalBook, Store, open_store, read_store
from routerd.store.codec import to_json
from routerd.store.database import MIGRATIONS
from routerd.store.journal import DEPTH, ENDED_DEPTH
from routerd.testing.clock import FakeClock

RouteChange = Change[FabricRouteKey, FabricRoute]
PLACE = ("aws", "routes")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "routerd.db"


@pytest.fixture
def store(path: Path, fake_clock: FakeClock) -> Iterator[Store]:
    made = open_store(path, clock=fake_clock)
    yield made
    made.close()


@pytest.fixture
def book(store: Store) -> JournalBook:
    return store.journal


def route(last: int, before: str | None = None, after: str | None = "eni-1") -> RouteChange:
    return Change(
        key=FabricRouteKey(table=RouteTableRef("rtb-1"), prefix=IPv4Network((0x0A000000 + last, 32))),
        before=FabricRoute(next_hop=before) if before else None,
        after=FabricRoute(next_hop=after) if after else None,
    )


def removal(last: int) -> RouteChange:
    return route(last, "eni-1", None)


def made(book: JournalBook, *changes: RouteChange) -> None:
    book.finish(dict.fromkeys(book.begin(*PLACE, changes), "done"))


def approval(change: RouteChange, digest: str = "d") -> Approval:
    return Approval(
        scope="aws",
        table="routes",
        digest=digest,
        verb=change.verb,
        key=str(change.key),
        key_value=to_json(change.key),
        before=to_json(change.before),
        after=to_json(change.after),
        approved_at=FakeClock().now(),
    )


def test_many_changes_are_one_transaction_and_numbered_in_their_order(book: JournalBook) -> None:
    numbers = book.begin(*PLACE, [route(1), route(2), route(3)])
    assert numbers == (1, 2, 3)
    assert [entry.key for entry in book.entries()] == [str(route(last).key) for last in (1, 2, 3)]


@pytest.mark.parametrize(
    ("ending", "ours"),
    [
        (removal(1), False),
        (route(1, "eni-1", "eni-b"), False),  # gives back what was taken over
        (route(1, "eni-1", "eni-c"), True),
    ],
)
def test_a_change_back_to_the_prior_value_ends_ownership(
    book: JournalBook, ending: RouteChange, ours: bool
) -> None:
    made(book, route(1, "eni-b"))
    numbers = book.begin(*PLACE, [ending])
    assert book.owned_keys(*PLACE) == {str(route(1).key)}, "not before it is known to be done"
    book.finish({numbers[0]: "failed: 503"})
    assert book.owned_keys(*PLACE) == {str(route(1).key)}
    made(book, ending)
    assert bool(book.owned_keys(*PLACE)) == ours


def test_the_value_to_restore_is_from_the_present_ownership(book: JournalBook) -> None:
    made(book, route(1, "eni-b"))
    made(book, route(1, "eni-1", "eni-b"))
    made(book, route(1, "eni-c"))
    assert book.owned(*PLACE)[str(route(1).key)].before == {"next_hop": "eni-c"}


def test_the_first_entry_of_an_ownership_outlasts_any_number_of_later_ones(book: JournalBook) -> None:
    made(book, route(1, "eni-b"))
    for _ in range(3 * DEPTH):
        made(book, route(1))
    entries = book.of_key(*PLACE, str(route(1).key))
    assert len(entries) == DEPTH + 1
    assert entries[0].number == 1
    assert book.owned(*PLACE)[str(route(1).key)].before == {"next_hop": "eni-b"}


def test_of_lost_keys_the_journal_keeps_only_the_latest_entries(book: JournalBook) -> None:
    made(book, route(0))
    keys = range(1, ENDED_DEPTH)
    made(book, *(route(last) for last in keys))
    made(book, *(removal(last) for last in keys))
    entries = book.entries()
    assert len(entries) == ENDED_DEPTH + 1
    assert entries[0].key == str(route(0).key), "an entry of a key of ours stays, however old"
    assert len(book.latest(20)) == 20
    assert book.latest(20)[-1].number == entries[-1].number


def test_the_latest_are_found_without_reading_the_others(book: JournalBook, store: Store) -> None:
    """The query plan walks by number, to the limit."""
    made(book, *(route(last) for last in range(50)))
    rows = store._connection.execute(
        "EXPLAIN QUERY PLAN SELECT number FROM journal WHERE (?1 IS NULL OR scope = ?1) "
        "ORDER BY number DESC LIMIT 20",
        (None,),
    ).fetchall()
    assert rows
    assert not any("TEMP B-TREE" in str(row) for row in rows), rows


def test_an_undo_holds_its_key_and_the_undo_of_the_undo_releases_it(book: JournalBook) -> None:
    made(book, route(1))
    undo = book.begin_undo(*PLACE, removal(1), undoes=1)
    (hold,) = book.holds()
    assert (hold.scope, hold.table, hold.key, hold.entry) == ("aws", "routes", str(route(1).key), undo)
    book.finish({undo: "done"})
    again = book.begin_undo(*PLACE, route(1), undoes=undo)
    assert len(book.holds()) == 1, "not before it is done"
    book.finish({again: "done"})
    assert book.holds() == ()
    assert [entry.undoes for entry in book.entries()] == [None, 1, undo]


def test_a_refused_undo_holds_nothing(book: JournalBook) -> None:
    made(book, route(1))
    undo = book.begin_undo(*PLACE, removal(1), undoes=1)
    book.finish({undo: "failed: 503"})
    assert len(book.holds()) == 1
    undo = book.begin_undo(*PLACE, removal(1), undoes=1)
    book.finish({undo: "refused: leads to eni-9"})
    assert book.holds() == ()


def test_a_change_that_is_done_uses_up_only_the_approvals_of_its_key(book: JournalBook) -> None:
    book.decide([approval(route(1), "a"), approval(route(1), "b"), approval(route(2), "c")])
    book.decide([approval(route(1), "a")])
    assert [each.digest for each in book.approvals()] == ["a", "b", "c"]
    (number,) = book.begin(*PLACE, [route(1)])
    book.finish({number: "failed: 503"})
    assert len(book.approvals(*PLACE)) == 3
    made(book, route(1))
    assert [each.digest for each in book.approvals()] == ["c"]
    assert book.approvals("oci") == ()


def test_a_file_of_an_earlier_schema_is_migrated(path: Path, fake_clock: FakeClock) -> None:
    old = sqlite3.connect(path, isolation_level=None)
    for statements in MIGRATIONS[:2]:
        for statement in statements:
            old.execute(statement)
    old.execute("PRAGMA user_version=2")
    for verb, last, outcome in (("create", 1, "done"), ("delete", 2, "done"), ("delete", 3, "failed: 503")):
        old.execute(
            "INSERT INTO journal (scope, tbl, verb, key, key_value, before, after, begun_at, outcome) "
            "VALUES ('aws', 'routes', ?, ?, '\"k\"', 'null', '1', '2026-01-01T00:00:00.000000Z', ?)",
            (verb, f"k{last}", outcome),
        )
    old.close()
    for opened in (read_store(path, clock=fake_clock), open_store(path, clock=fake_clock)):
        assert [entry.ended for entry in opened.journal.entries()] == [False, True, False]
        assert opened.journal.owned_keys(*PLACE) == {"k1"}
        assert (opened.journal.approvals(), opened.journal.holds()) == ((), ())
        opened.close()


class TestReading:
    def test_reading_shows_the_content_and_changes_nothing(
        self, path: Path, store: Store, fake_clock: FakeClock
    ) -> None:
        made(store.journal, route(1))
        before = path.read_bytes()
        copy = read_store(path, clock=fake_clock)
        assert copy.journal.entries() == store.journal.entries()
        made(copy.journal, route(2))
        copy.close()
        assert path.read_bytes() == before
        assert len(store.journal.entries()) == 1

    def test_reading_leaves_a_closed_file_unchanged(
        self, path: Path, store: Store, fake_clock: FakeClock
    ) -> None:
        made(store.journal, route(1))
        store.close()
        before = {each.name: each.read_bytes() for each in path.parent.iterdir()}
        assert len(read_store(path, clock=fake_clock).journal.entries()) == 1
        assert before[path.name] == path.read_bytes()

    def test_the_error_names_an_unreadable_file(self, path: Path, fake_clock: FakeClock) -> None:
        with pytest.raises(StoreError, match=r"routerd\.db: it cannot be opened"):
            read_store(path, clock=fake_clock)
        assert not path.exists()
        path.write_bytes(b"junk" * 5000)
        with pytest.raises(StoreError, match="not a database"):
            read_store(path, clock=fake_clock)

    def test_a_file_of_a_newer_routerd_is_refused(
        self, path: Path, store: Store, fake_clock: FakeClock
    ) -> None:
        store._connection.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
        with pytest.raises(StoreError, match="install the newer routerd"):
            read_store(path, clock=fake_clock)


def test_a_column_that_is_not_json_comes_as_its_text(book: JournalBook, store: Store) -> None:
    made(book, route(1))
    book.decide([approval(route(1))])
    for table in ("journal", "approvals"):
        store._connection.execute(f"UPDATE {table} SET key_value = 'half a li'")
    assert [entry.key_value for entry in book.entries()] == ["half a li"]
    assert [attrs.evolve(each, number=0).key_value for each in book.approvals()] == ["half a li"]
