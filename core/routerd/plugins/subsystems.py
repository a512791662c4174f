"""The subsystems of the enabled plugins as the core asks them: every answer is checked.

Whatever a subsystem raises or returns stays with its own tables.
"""

from contextlib import AbstractContextManager

import attrs

from routerd.errors import ProviderError
from routerd.model.change import DesiredTable
from routerd.model.intent import Intent
from routerd.model.report.explanation import Step
from routerd.model.resource import Condition
from routerd.model.subsystem import Derivation, FabricFacts, Flow
from routerd.plugins.subsystem_checks import resources_of
from routerd.reconcile.guard import contained, sequence_of
from routerd.spi import Logger, Subsystem, SubsystemType


@attrs.define(kw_only=True)
class MadeSubsystem:
    """One subsystem: its description and its provider; implements `derive.inputs.Part`."""

    plugin: str
    described: SubsystemType
    provider: Subsystem
    log: Logger
    _last: tuple[Intent, FabricFacts, Derivation] | None = attrs.field(default=None, init=False)

    @property
    def tables(self) -> dict[str, str]:
        """Return the names of its tables in the loop, each with that of its attribute."""
        return {f"{self.described.kind}/{each.name}": each.name for each in self.described.tables}

    @property
    def lane(self) -> str:
        """Return the lane of its tables outside of this host."""
        return f"subsystem/{self.described.kind}"

    def derive(self, facts: FabricFacts) -> Derivation:
        """Return what its tables in the loop should hold; `ProviderError` when the plugin has no answer."""
        if self._last is not None and self._last[0] is facts.intent and self._last[1] == facts:
            return self._last[2]
        with self._contained("derive"):
            answer = self.described.derive(resources_of(self.described, facts.intent), facts)
            found = _checked(answer, {each.name for each in self.described.tables})
            derivation = Derivation(
                tables={name: found.tables.get(own, DesiredTable()) for name, own in self.tables.items()},
                conditions=found.conditions,
            )
        self._last = facts.intent, facts, derivation
        return derivation

    def explain(self, flow: Flow, facts: FabricFacts) -> tuple[Step, ...]:
        """Return what decides about a flow; a plugin without an answer is such a step."""
        try:
            with self._contained("explain"):
                resources = resources_of(self.described, facts.intent)
                return sequence_of(Step, self.described.explain(flow, resources, facts))
        except ProviderError as error:
            return (Step(self.described.kind, "note", f"plugin {self.plugin}: {error}"),)

    def _contained(self, call: str) -> AbstractContextManager[None]:
        return contained(self.log, table=f"{self.described.kind}: {call}", call="ask", plugin=self.plugin)


def _checked(found: object, names: set[str]) -> Derivation:
    if not isinstance(found, Derivation):
        raise TypeError(f"it returned a {type(found).__name__}, not a Derivation")
    if strange := sorted(set(found.tables) - names):
        raise TypeError(f"it wants content for {', '.join(strange)}, which its description does not list")
    for name, table in found.tables.items():
        if not isinstance(table, DesiredTable):
            raise TypeError(f"it wants a {type(table).__name__} in {name}, not a DesiredTable")
        hash(tuple(table.values))
    for ref, conditions in found.conditions.items():
        if not isinstance(ref, str):
            raise TypeError(f"it has conditions of {ref!r}, not of the name of a resource")
        sequence_of(Condition, conditions)
    return found
