"""The difference between what should be and what is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from routerd.model.change import Change

K = TypeVar("K")
V = TypeVar("V")


def diff(desired: Mapping[K, V], observed: Mapping[K, V], *, deletable: bool = True) -> list[Change[K, V]]:
    """Return the changes that turn `observed` into `desired`, in the order of their keys' text.

    With `deletable` false nothing is deleted: the desired state is not known to be complete.
    """
    changes: list[Change[K, V]] = []
    for key, value in desired.items():
        present = observed.get(key)
        if present != value:
            changes.append(Change(key=key, before=present, after=value))
    if deletable:
        changes.extend(
            Change(key=key, before=value, after=None) for key, value in observed.items() if key not in desired
        )
    changes.sort(key=lambda change: str(change.key))
    return changes
