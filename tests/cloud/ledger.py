"""What the journal in the state file says, read by code of its own: a judge does not ask the accused."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import attrs
from tests.cloud.account import Slot


@attrs.frozen(kw_only=True)
class Line:
    """One entry; `slot` is where in a route table, or the NIC and nothing."""

    number: int
    table: str
    verb: str
    slot: Slot
    outcome: str
    ended: bool = False

    @property
    def makes(self) -> bool:
        """Say whether it may have made something."""
        return self.verb != "delete" and not self.outcome.startswith(("refused", "superseded"))


@attrs.frozen
class Ledger:
    """All entries of one cloud, oldest first."""

    lines: Sequence[Line]

    @classmethod
    def read(cls, path: Path) -> Ledger:
        """Read the state file; one that is not there has no entries."""
        if not path.exists():
            return cls(())
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            rows = connection.execute(
                "SELECT number, tbl, verb, key_value, outcome, ended FROM journal ORDER BY number"
            ).fetchall()
        return cls(
            [
                Line(
                    number=number,
                    table=table,
                    verb=verb,
                    slot=_slot(json.loads(key)),
                    outcome=outcome,
                    ended=bool(ended),
                )
                for number, table, verb, key, outcome, ended in rows
            ]
        )

    def of(self, slot: Slot, table: str = "routes") -> list[Line]:
        """Return the entries of one key."""
        return [line for line in self.lines if line.table == table and line.slot == slot]

    def owns(self, slot: Slot, table: str = "routes", before: int | None = None) -> bool:
        """Say whether a key is ours by what is written, without the entries from a number on."""
        ours = False
        for line in self.of(slot, table):
            if before is not None and line.number >= before:
                break
            if line.makes:
                ours = not line.ended
            elif line.outcome.startswith("superseded") or (line.verb, line.outcome) == ("delete", "done"):
                ours = False
        return ours

    def owned(self, table: str = "routes") -> set[Slot]:
        """Return all keys that are ours."""
        slots = {line.slot for line in self.lines if line.table == table}
        return {slot for slot in slots if self.owns(slot, table)}

    def explains(self, verb: str, slot: Slot, table: str = "routes", *, late: bool = False) -> str:
        """Return what is wrong with a change that was made, or nothing.

        It must have been written down and not ended yet; one that comes `late` may have ended.
        """
        verbs = ("delete",) if verb == "delete" else ("create", "replace")
        written = [
            line for line in self.of(slot, table) if line.verb in verbs and (late or line.outcome == "")
        ]
        if not written:
            return f"{verb} of {slot} in {table} was made and is not in the journal"
        if verb == "delete" and not late and not self.owns(slot, table, before=written[-1].number):
            return f"{slot} was deleted and the journal did not say that it was ours"
        return ""


def _slot(key: object) -> Slot:
    if isinstance(key, dict):
        return str(key["table"]), str(key["prefix"])
    return str(key), ""
