"""The difference between the desired and the observed content of a table. Pure."""

import operator
from collections.abc import Callable, Mapping
from typing import TypeVar

from routerd.model.change import Change

K = TypeVar("K")
V = TypeVar("V")


def diff(
    desired: Mapping[K, V],
    observed: Mapping[K, V],
    *,
    deletable: bool = True,
    agrees: Callable[[V, V], bool] = operator.eq,
) -> list[Change[K, V]]:
    """Return the changes that turn `observed` into `desired`, in the order of their keys' text.

    With `deletable` false there are no deletions, because the desired state may be incomplete.
    `agrees(desired, observed)` says that a value needs no change.
    """
    changes: list[Change[K, V]] = []
    met = 0
    for key, value in desired.items():
        present = observed.get(key)
        met += present is not None
        if present is None or not agrees(value, present):
            changes.append(Change(key=key, before=present, after=value))
    if deletable and met < len(observed):
        changes.extend(
            Change(key=key, before=value, after=None) for key, value in observed.items() if key not in desired
        )
    changes.sort(key=lambda change: str(change.key))
    return changes
