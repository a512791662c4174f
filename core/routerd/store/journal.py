"""The journal of changes outside the host, and the operators' decisions about such changes.

The journal notes a change and the value that it replaces before routerd makes the change, so that an
undo can restore the value and a restarted router knows its own changes. Beside it are the approvals,
and the holds: keys that routerd leaves alone after an undo. The rules of both are in `clouds`.

What complicates this:

* An entry without an outcome, or with a failed one, may have happened all the same. Its key counts as
  ours until a deletion, a restored value or a lapse ends that.
* The first entry of a key since it became ours has the value to restore, so pruning must keep it
  however many entries follow.
* An undo is an entry too. It holds its key, an undo of the undo releases it, and a refused undo holds
  nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from routerd.model.change import Change
from routerd.model.moment import exact_text
from routerd.store.access import Access, Execute
from routerd.store.codec import dumps
from routerd.store.records import Approval, Hold, JournalEntry
from routerd.store.rows import columns, record

T = TypeVar("T")

DEPTH = 20
"""Number of the latest entries that the journal keeps of one key, beside the first."""

ENDED_DEPTH = 1_000
"""Number of entries that the journal keeps of keys that are no longer ours, for all clouds together."""

_OF_ALL_OR_ONE = "WHERE (?1 IS NULL OR scope = ?1) AND (?2 IS NULL OR tbl = ?2)"
_OURS = "WHERE scope = ? AND tbl = ? AND ended = 0 AND verb <> 'delete' AND outcome NOT LIKE 'refused%'"
_FIRST = (
    "SELECT min(number) FROM journal WHERE scope = ?1 AND tbl = ?2 AND key = ?3 AND ended = 0 "
    "AND verb <> 'delete' AND outcome NOT LIKE 'refused%'"
)
"""The entry with the value from before a key became ours."""

_LAPSED = "failed: interrupted; its result was not found for a long time"


class JournalBook:
    """The journal in the state file. Every method may raise `StoreError` and then changes nothing."""

    def __init__(self, access: Access, now: Callable[[], datetime]) -> None:
        self._access = access
        self.now = now

    # --- writing -----------------------------------------------------------------------------------

    def begin(self, scope: str, table: str, changes: Iterable[Change[Any, Any]]) -> tuple[int, ...]:
        """Note changes before routerd makes them; return their numbers, in their order.

        Of each key the journal keeps the latest entries and the first, which has the value from before
        us.
        """
        with self._access.transaction() as execute:
            return tuple(self._begin(execute, scope, table, change) for change in changes)

    def begin_undo(self, scope: str, table: str, change: Change[Any, Any], *, undoes: int) -> int:
        """Note a change that undoes the entry `undoes`, and hold its key.

        The undo of an undo holds nothing.
        """
        with self._access.transaction() as execute:
            number = self._begin(execute, scope, table, change, undoes)
            execute(
                "INSERT INTO holds (scope, tbl, key, key_value, entry, held_at) SELECT ?, ?, ?, ?, ?, ? "
                "WHERE NOT EXISTS (SELECT 1 FROM journal WHERE number = ? AND undoes IS NOT NULL) "
                "ON CONFLICT (scope, tbl, key) DO UPDATE SET entry = excluded.entry",
                (
                    *(scope, table, str(change.key), dumps(change.key), number),
                    *(exact_text(self.now()), undoes),
                ),
            )
            return number

    def finish(self, outcomes: Mapping[int, str]) -> None:
        """Note how changes ended, by number.

        `done`; `failed: ...`, and it may have happened; `refused: ...`, and it has not happened;
        `superseded: ...`, and ours had gone before. A change that is done or superseded uses its
        approval up. The key is no longer ours after a deletion, after a change that restores what was
        there before us, and after a superseded one.
        """
        if not outcomes:
            return
        with self._access.transaction() as execute:
            for number, outcome in outcomes.items():
                execute(
                    "UPDATE journal SET outcome = ?, finished_at = ? WHERE number = ?",
                    (outcome, exact_text(self.now()), number),
                )
                if outcome == "done" or outcome.startswith("superseded"):
                    _settle(execute, number, ended=outcome != "done")
                elif outcome.startswith("refused"):
                    execute("DELETE FROM holds WHERE entry = ?", (number,))
            execute(
                "DELETE FROM journal WHERE ended = 1 AND number <= (SELECT number FROM journal "
                "WHERE ended = 1 ORDER BY number DESC LIMIT 1 OFFSET ?)",
                (ENDED_DEPTH,),
            )

    def lapse(self, scope: str, table: str, keys: Iterable[str]) -> None:
        """Give up keys of ours that were missing for a long time.

        An entry without an outcome gets one: failed.
        """
        with self._access.transaction() as execute:
            for key in keys:
                execute(
                    "UPDATE journal SET ended = 1, finished_at = coalesce(finished_at, ?), "
                    "outcome = CASE outcome WHEN '' THEN ? ELSE outcome END "
                    "WHERE scope = ? AND tbl = ? AND key = ? AND ended = 0",
                    (exact_text(self.now()), _LAPSED, scope, table, key),
                )

    # --- reading -----------------------------------------------------------------------------------

    def entries(self, scope: str | None = None, table: str | None = None) -> tuple[JournalEntry, ...]:
        """Return the entries, oldest first, of all scopes or of one, of all its tables or of one."""
        return self._select(JournalEntry, f"FROM journal {_OF_ALL_OR_ONE} ORDER BY number", scope, table)

    def latest(self, limit: int, scope: str | None = None) -> tuple[JournalEntry, ...]:
        """Return the latest entries, oldest first, of all scopes or of one."""
        found = self._select(
            JournalEntry,
            "FROM journal WHERE (?1 IS NULL OR scope = ?1) ORDER BY number DESC LIMIT ?2",
            scope,
            limit,
        )
        return found[::-1]

    def entry(self, number: int) -> JournalEntry | None:
        """Return one entry, or none: the journal never had it, or no longer keeps it."""
        return next(iter(self._select(JournalEntry, "FROM journal WHERE number = ?", number)), None)

    def of_key(self, scope: str, table: str, key: str) -> tuple[JournalEntry, ...]:
        """Return the entries of one key, oldest first, including those of earlier ownerships."""
        where = "WHERE scope = ? AND tbl = ? AND key = ? ORDER BY number"
        return self._select(JournalEntry, f"FROM journal {where}", scope, table, key)

    def unfinished(self, scope: str, table: str) -> tuple[JournalEntry, ...]:
        """Return the entries without an outcome, oldest first."""
        where = "WHERE scope = ? AND tbl = ? AND outcome = '' ORDER BY number"
        return self._select(JournalEntry, f"FROM journal {where}", scope, table)

    def owned(self, scope: str, table: str) -> Mapping[str, JournalEntry]:
        """Return, by key, the first entry of each key that is ours; its `before` is the value to restore.

        A failed change, or one without an outcome, may have happened all the same.
        """
        firsts = f"SELECT min(number) FROM journal {_OURS} GROUP BY key"  # noqa: S608 - constants
        where = f"WHERE number IN ({firsts}) ORDER BY number"
        return {each.key: each for each in self._select(JournalEntry, f"FROM journal {where}", scope, table)}

    def owned_keys(self, scope: str, table: str) -> frozenset[str]:
        """Return the keys, as text, of a cloud's table that are ours by the journal."""
        query = f"SELECT DISTINCT key FROM journal {_OURS}"  # noqa: S608 - constants
        rows = self._access.read(query, (scope, table))
        return frozenset(key for (key,) in rows)

    # --- decisions ---------------------------------------------------------------------------------

    def approvals(self, scope: str | None = None, table: str | None = None) -> tuple[Approval, ...]:
        """Return the approvals of changes that routerd has not made yet, oldest first."""
        return self._select(Approval, f"FROM approvals {_OF_ALL_OR_ONE} ORDER BY number", scope, table)

    def holds(self, scope: str | None = None, table: str | None = None) -> tuple[Hold, ...]:
        """Return the keys that routerd leaves alone after an undo."""
        return self._select(Hold, f"FROM holds {_OF_ALL_OR_ONE} ORDER BY scope, tbl, key", scope, table)

    def decide(self, approvals: Iterable[Approval], released: Iterable[Hold] = ()) -> None:
        """Keep approvals, each once, and release held keys."""
        with self._access.transaction() as execute:
            for each in approvals:
                execute(
                    "INSERT INTO approvals (scope, tbl, digest, verb, key, key_value, before, after, "
                    "approved_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    (
                        *(each.scope, each.table, each.digest, each.verb, each.key),
                        *(dumps(each.key_value), dumps(each.before), dumps(each.after)),
                        exact_text(each.approved_at),
                    ),
                )
            for hold in released:
                execute(
                    "DELETE FROM holds WHERE scope = ? AND tbl = ? AND key = ?",
                    (hold.scope, hold.table, hold.key),
                )

    def drop_approvals(self, numbers: Iterable[int]) -> None:
        """Drop approvals of changes that are no longer wanted."""
        with self._access.transaction() as execute:
            for number in numbers:
                execute("DELETE FROM approvals WHERE number = ?", (number,))

    # --- how ---------------------------------------------------------------------------------------

    def _select(self, kind: type[T], source: str, *arguments: str | int | None) -> tuple[T, ...]:
        """Return the records of the rows that `source` selects."""
        rows = self._access.read(f"SELECT {columns(kind)} {source}", arguments)
        return tuple(record(kind, row) for row in rows)

    def _begin(
        self, execute: Execute, scope: str, table: str, change: Change[Any, Any], undoes: int | None = None
    ) -> int:
        key = str(change.key)
        execute(
            "INSERT INTO journal (scope, tbl, verb, key, key_value, before, after, begun_at, undoes) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(scope, table, change.verb, key, dumps(change.key), dumps(change.before)),
                *(dumps(change.after), exact_text(self.now()), undoes),
            ),
        )
        (number,) = execute("SELECT last_insert_rowid()").fetchall()[0]
        execute(
            "DELETE FROM journal WHERE scope = ?1 AND tbl = ?2 AND key = ?3 "  # noqa: S608 - as above
            f"AND number IS NOT ({_FIRST}) AND number <= (SELECT number FROM journal WHERE scope = ?1 "
            "AND tbl = ?2 AND key = ?3 ORDER BY number DESC LIMIT 1 OFFSET ?4)",
            (scope, table, key, DEPTH),
        )
        return int(number)


def _settle(execute: Execute, number: int, *, ended: bool) -> None:
    """Draw the consequences of a change that was made; `ended` says that the key is not ours any more."""
    rows = execute(
        "SELECT scope, tbl, key, verb, after, undoes FROM journal WHERE number = ?", (number,)
    ).fetchall()
    if not rows:
        return
    scope, table, key, verb, after, undoes = rows[0]
    where = (scope, table, key)
    execute("DELETE FROM approvals WHERE scope = ? AND tbl = ? AND key = ?", where)
    execute(
        "DELETE FROM holds WHERE scope = ? AND tbl = ? AND key = ? "
        "AND EXISTS (SELECT 1 FROM journal WHERE number = ? AND undoes IS NOT NULL)",
        (*where, undoes),
    )
    first = execute(
        f"SELECT before FROM journal WHERE number = ({_FIRST}) AND number < ?4",  # noqa: S608 - as above
        (*where, number),
    ).fetchall()
    if ended or verb == "delete" or (first and first[0][0] == after):
        execute(
            "UPDATE journal SET ended = 1 WHERE scope = ? AND tbl = ? AND key = ? AND number <= ?",
            (*where, number),
        )
