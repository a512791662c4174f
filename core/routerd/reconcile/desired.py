"""The desired state as tables: the result of `derive` and the input of the loop."""

from collections.abc import Mapping

import attrs

from routerd.model.change import DesiredTable
from routerd.model.resource import Condition
from routerd.model.route import RejectedRoute


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
