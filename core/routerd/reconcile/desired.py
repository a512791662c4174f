"""The desired state as tables: the result of `derive` and the input of the loop."""

from collections.abc import Mapping
from typing import Any

import attrs

from routerd.model.condition import Condition
from routerd.model.route import RejectedRoute


@attrs.frozen(kw_only=True)
class DesiredTable:
    """The desired content of one table.

    With `complete` false a source has not answered yet; the table then serves to create and replace,
    never to delete. `owners` names the resource behind each key, as `Kind/name`.
    """

    values: Mapping[Any, Any] = attrs.field(factory=dict)  # Any: keys and values differ by table
    complete: bool = True
    owners: Mapping[Any, str] = attrs.field(factory=dict)  # Any: as above


@attrs.frozen(kw_only=True)
class Desired:
    """The whole desired state; a table that is absent should be empty.

    `conditions` are the notes of derivation on resources, such as the source that one waits for;
    `rejected` are learned routes that the core's own import policy keeps out of the kernel.
    """

    tables: Mapping[str, DesiredTable] = attrs.field(factory=dict)
    conditions: Mapping[str, tuple[Condition, ...]] = attrs.field(factory=dict)
    rejected: tuple[RejectedRoute, ...] = ()
    complete: bool = True

    def table(self, name: str) -> DesiredTable:
        """Return the desired content of the table `name`."""
        return self.tables.get(name, EMPTY if self.complete else UNKNOWN)

    def deleting_nothing(self) -> "Desired":
        """Return the same with every table incomplete; it serves while lost claims are still to return."""
        tables = {name: attrs.evolve(table, complete=False) for name, table in self.tables.items()}
        return attrs.evolve(self, tables=tables, complete=False)


EMPTY = DesiredTable()
UNKNOWN = DesiredTable(complete=False)
