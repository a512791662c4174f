"""One difference between the observed and the desired state."""

from typing import Generic, Literal, TypeVar

import attrs

K = TypeVar("K")
V = TypeVar("V")

Verb = Literal["create", "replace", "delete"]


@attrs.frozen(kw_only=True)
class Change(Generic[K, V]):
    """A change of one key from the observed value `before` to the desired value `after`.

    Without `before` it is a creation, without `after` a deletion, with both a replacement.
    """

    key: K
    before: V | None
    after: V | None

    def __attrs_post_init__(self) -> None:
        if self.before is None and self.after is None:
            raise ValueError(f"change of {self.key} changes nothing")

    @property
    def verb(self) -> Verb:
        """Return the kind of the change."""
        if self.before is None:
            return "create"
        return "delete" if self.after is None else "replace"

    @property
    def desired(self) -> V:
        """Return `after`; `ValueError` for a deletion."""
        if self.after is None:
            raise ValueError(f"the change deletes {self.key}")
        return self.after
