"""In which order tables are changed: make before break. Pure.

Creations and replacements run from the underlay upwards, so that each finds what it stands on.
Deletions run afterwards and the other way round, so that nothing loses its ground before it goes.
Only what a full table has no room for before the deletions comes after them.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence

import attrs

from routerd.model.change import Change

AnyChange = Change[Hashable, object]

RANKS = (
    "addresses",
    "tunnels.wireguard",
    "peers",
    "firewall",
    "tunnels",
    # After the links: many settings are a link's own.
    "sysctls",
    "routes",
    "speakers",
    "import_policies",
    "sessions",
    "advertisements",
    "forwarding",
    "fabric-routes",
)
"""Roles of tables from the ground up."""


@attrs.frozen(kw_only=True)
class Step:
    """Changes of one table that are applied by one call."""

    table: str
    changes: tuple[AnyChange, ...]


def ordered(
    changes: Mapping[str, Sequence[AnyChange]],
    roles: Mapping[str, str],
    late: Mapping[str, Collection[Hashable]] | None = None,
) -> list[Step]:
    """Return the steps in which `changes`, by table name, are applied; `roles` names each table's rank.

    `late` are keys whose creation needs the room that their table's deletions make.
    """
    upwards = sorted(changes, key=lambda name: (RANKS.index(roles[name]), name))
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
