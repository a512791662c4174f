"""What should be, as tables: the result of `derive` and the input of the loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from routerd.model.condition import Condition


@attrs.frozen(kw_only=True)
class DesiredTable:
    """The desired content of one table.

    `complete` false means that something is missing from it (a source that has not answered yet):
    it may be used to create and replace, never to delete. `owners` names the resource that each
    key stands for, as `Kind/name`.
    """

    values: Mapping[Any, Any] = attrs.field(factory=dict)  # Any: keys and values differ by table
    complete: bool = True
    owners: Mapping[Any, str] = attrs.field(factory=dict)  # Any: as above


@attrs.frozen(kw_only=True)
class Desired:
    """The whole desired state; a table that is not mentioned is desired to be empty.

    `conditions` holds what derivation itself has to say of a resource, such as what it waits for.
    """

    tables: Mapping[str, DesiredTable] = attrs.field(factory=dict)
    conditions: Mapping[str, tuple[Condition, ...]] = attrs.field(factory=dict)
    complete: bool = True

    def table(self, name: str) -> DesiredTable:
        """Return the desired content of the table `name`."""
        return self.tables.get(name, EMPTY if self.complete else UNKNOWN)

    def deleting_nothing(self) -> Desired:
        """Return the same with every table incomplete, for while claims are still to come back."""
        tables = {name: attrs.evolve(table, complete=False) for name, table in self.tables.items()}
        return attrs.evolve(self, tables=tables, complete=False)


EMPTY = DesiredTable()
UNKNOWN = DesiredTable(complete=False)
