"""One difference between what is and what should be."""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

import attrs

K = TypeVar("K")
V = TypeVar("V")

Verb = Literal["create", "replace", "delete"]


@attrs.frozen(kw_only=True)
class Change(Generic[K, V]):
    """A change of one key: `before` is what was observed, `after` what is desired.

    No `before` is a creation, no `after` a deletion; both, a replacement.
    """

    key: K
    before: V | None
    after: V | None

    def __attrs_post_init__(self) -> None:
        if self.before is None and self.after is None:
            raise ValueError(f"change of {self.key} changes nothing")

    @property
    def verb(self) -> Verb:
        """Return what is done to the key."""
        if self.before is None:
            return "create"
        return "delete" if self.after is None else "replace"

    @property
    def desired(self) -> V:
        """Return `after` where there is one; `ValueError` for a deletion."""
        if self.after is None:
            raise ValueError(f"{self.key} is to be deleted")
        return self.after
