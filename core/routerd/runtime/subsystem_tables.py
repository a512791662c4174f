"""The tables of subsystems in the loop: ranked, and journaled where they change something outside."""

from collections.abc import Callable

import attrs

from routerd.clouds.gate import Gate
from routerd.clouds.journal import JournaledTable
from routerd.clouds.policy import CloudPolicy
from routerd.clouds.words import learn
from routerd.errors import ConfigError
from routerd.plugins.check import Prepared
from routerd.plugins.subsystem_checks import found
from routerd.plugins.subsystems import MadeSubsystem
from routerd.reconcile.derive import Inputs, fabric_facts
from routerd.reconcile.loop import Binding, Loop
from routerd.reconcile.order import OF_SUBSYSTEM
from routerd.spi import Clock, Logger, SubsystemTable
from routerd.store import JournalBook


@attrs.frozen(kw_only=True)
class SubsystemBinder:
    """Binds the tables of a subsystem that has started."""

    loop: Loop
    journal: JournalBook
    clock: Clock
    log: Logger
    run_lane: Callable[[str], None]

    async def __call__(self, subsystem: MadeSubsystem) -> None:
        """Bind all tables, or none: `AttributeError` when the provider lacks one of its description."""
        described = {each.name: each for each in subsystem.described.tables}
        bindings = [self._binding(name, subsystem, described[own]) for name, own in subsystem.tables.items()]
        for binding in bindings:
            self.loop.bind(binding)
        for lane in sorted({binding.lane for binding in bindings} - {"host"}):
            self.run_lane(lane)

    def _binding(self, name: str, subsystem: MadeSubsystem, described: SubsystemTable) -> Binding:
        binding = Binding(
            name=name,
            role=described.after + OF_SUBSYSTEM,
            table=getattr(subsystem.provider, described.name),
            plugin=subsystem.plugin,
            deadline=described.deadline,
            quiet=described.quiet,
        )
        if not described.outside:
            return binding
        learn(name, described.key, described.value)
        gate = Gate(self.journal, scope=subsystem.described.kind, table=name, mode="auto")
        table = JournaledTable(
            binding.table,
            self.journal,
            scope=gate.scope,
            name=name,
            gate=gate,
            clock=self.clock,
            log=self.log,
        )
        policy = CloudPolicy(table, gate=gate, permits=table.permits)
        return attrs.evolve(binding, table=table, lane=subsystem.lane, policy=policy)


def judge(prepared: Prepared, inputs: Inputs) -> None:
    """Raise `ConfigError` when a subsystem finds a file wrong, given the facts of the moment."""
    subsystems = prepared.host.subsystems()
    if not subsystems:
        return
    problems = list(found(subsystems, prepared.intent, fabric_facts(inputs)))
    if any(problem.severity == "error" for problem in problems):
        raise ConfigError(problems)
