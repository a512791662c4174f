"""What a dry pass found, as a value."""

from routerd.clouds.gate import AnyChange, Gate
from routerd.clouds.words import outlook_of
from routerd.model.change import Change
from routerd.model.intent import Intent
from routerd.model.report.plan import ActionState, Plan, PlannedChange, RefusedChange
from routerd.model.specs import CloudProviderProfileSpec
from routerd.reconcile.guard import of_plugin
from routerd.reconcile.loop import Loop
from routerd.reconcile.wording import key_text, value_text
from routerd.report.subject import Subject


def plan_of(subject: Subject, dry: Loop, intent: Intent | None = None) -> Plan:
    """Return the changes that a dry pass found, and the reasons why tables could not be read.

    `intent` decides the modes of the cloud profiles; without it they are those in force.
    """
    reports = [report for _, report in sorted(dry.reports().items())]
    gates = subject.gates()
    return Plan(
        changes=tuple(
            planned_change(report.name, change, gates.get(report.name), intent)
            for report in reports
            for change in report.planned
        ),
        refused=tuple(
            RefusedChange(
                table=report.name,
                verb=change.verb,
                key=key_text(change.key),
                before=_text(change.before),
                after=_text(change.after),
                reason=str(error),
            )
            for report in reports
            for change, error in report.refused
        ),
        unreadable=(
            *(
                f"{of_plugin(report.name, report.plugin)}: {report.error}"
                for report in reports
                if not report.readable
            ),
            *(f"{name}: {text}" for name, text in sorted(subject.knowledge.waiting.items())),
        ),
        incomplete=tuple(report.name for report in reports if not report.complete),
    )


def planned_change(
    table: str, change: Change[object, object], gate: Gate | None, intent: Intent | None = None
) -> PlannedChange:
    """Return a change of a table; that of a cloud has a `gate`, and an outlook."""
    return PlannedChange(
        table=table,
        verb=change.verb,
        key=key_text(change.key),
        before=_text(change.before),
        after=_text(change.after),
        action=outlook_of(gate, change, _state(gate, change, intent)) if gate is not None else None,
    )


def _state(gate: Gate, change: AnyChange, intent: Intent | None) -> ActionState:
    of_cloud = intent is not None and gate.table in ("forwarding", "routes")
    profile = intent.get(gate.scope, CloudProviderProfileSpec) if intent is not None and of_cloud else None
    return gate.state(change, profile.spec.mode if profile else None)


def _text(value: object) -> str | None:
    return None if value is None else value_text(value)
