"""In which order tables are changed: make before break. Pure.

Creations and replacements run from the underlay upwards, so that each finds what it stands on.
Deletions run afterwards and the other way round, so that nothing loses its ground before it goes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence

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
    "admission",
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


def ordered(changes: Mapping[str, Sequence[AnyChange]], roles: Mapping[str, str]) -> list[Step]:
    """Return the steps in which `changes`, by table name, are applied; `roles` names each table's rank."""
    by_rank = sorted(changes, key=lambda name: (RANKS.index(roles[name]), name))
    steps = [_step(name, changes[name], deletes=False) for name in by_rank]
    steps += [_step(name, changes[name], deletes=True) for name in reversed(by_rank)]
    return [step for step in steps if step.changes]


def _step(name: str, changes: Iterable[AnyChange], *, deletes: bool) -> Step:
    return Step(
        table=name,
        changes=tuple(change for change in changes if (change.verb == "delete") is deletes),
    )
