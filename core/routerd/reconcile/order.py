"""The order of changes: make before break. Pure.

Creations and replacements run from the underlay upwards, so that each finds the objects it needs.
Deletions follow in the opposite order, so that no object loses the one below it first. A creation for
which a full table has no room before the deletions runs after them.
"""

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import cast, get_args

import attrs

from routerd.model.change import Change
from routerd.spi import Rank

AnyChange = Change[Hashable, object]

RANKS: tuple[Rank, ...] = get_args(Rank)
"""Roles of tables, the lowest first."""

OF_SUBSYSTEM = "+"
"""The end of the role of a subsystem's table, whose beginning is the role that it comes after."""


def rank(role: str) -> tuple[int, str]:
    """Return the place of a role in the order of creations."""
    core = role.removesuffix(OF_SUBSYSTEM)
    return RANKS.index(cast("Rank", core)), role


@attrs.frozen(kw_only=True)
class Step:
    """Changes of one table that one call applies."""

    table: str
    changes: tuple[AnyChange, ...]


def ordered(
    changes: Mapping[str, Sequence[AnyChange]],
    roles: Mapping[str, str],
    late: Mapping[str, Collection[Hashable]] | None = None,
) -> list[Step]:
    """Return the steps for `changes`, by table name; `roles` names each table's rank.

    `late` are keys whose creation needs the room of their table's deletions.
    """
    upwards = sorted(changes, key=lambda name: (rank(roles[name]), name))
    steps: list[Step] = []
    for phase, names in ((_EARLY, upwards), (_DELETION, upwards[::-1]), (_LATE, upwards)):
        for name in names:
            waiting = (late or {}).get(name, ())
            part = tuple(change for change in changes[name] if _phase(change, waiting) == phase)
            steps.append(Step(table=name, changes=part))
    return [step for step in steps if step.changes]


_EARLY, _DELETION, _LATE = range(3)


def _phase(change: AnyChange, late: Collection[Hashable]) -> int:
    if change.verb == "delete":
        return _DELETION
    return _LATE if change.key in late else _EARLY
