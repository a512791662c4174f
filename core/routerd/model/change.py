"""The desired content of a table, and one difference of the observed content from it."""

from collections.abc import Mapping
from typing import Any, Generic, Literal, TypeVar

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


@attrs.frozen(kw_only=True)
class DesiredTable:
    """The desired content of one table.

    With `complete` false a source has not answered yet; the table then serves to create and replace,
    never to delete. `owners` names the resource behind each key, as `Kind/name`.
    """

    values: Mapping[Any, Any] = attrs.field(factory=dict)  # Any: keys and values differ by table
    complete: bool = True
    owners: Mapping[Any, str] = attrs.field(factory=dict)  # Any: as above
