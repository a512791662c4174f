"""The reasons why a router is not ready, and notes; one sentence each."""

from collections.abc import Iterable, Sequence

from routerd.clouds.gate import Gate
from routerd.clouds.words import open_ends
from routerd.reconcile.desired import Desired
from routerd.reconcile.guard import of_plugin
from routerd.reconcile.loop import TableReport
from routerd.reconcile.wording import key_text
from routerd.report.live import Live
from routerd.report.subject import Subject


def reasons(subject: Subject, desired: Desired, live: Live, *, more: Sequence[str] = ()) -> list[str]:
    """Return the reasons why the router is not ready, `more` among them; none when it is."""
    found = list(more)
    found += [f"{name}: {text}" for name, text in sorted(subject.knowledge.waiting.items())]
    found += live.errors
    reports = subject.loop.reports()
    # Also the tables that the derivation does not know, which should be empty.
    for name in dict.fromkeys((*desired.tables, *sorted(reports))):
        report = reports.get(name)
        wanted_now = len(desired.table(name).values)
        if report is None:
            if wanted_now:
                found.append(f"{name}: not read yet")
        elif not report.readable:
            found.append(f"{of_plugin(name, report.plugin)}: {report.error}")
        elif not report.settled:
            found.append(f"{of_plugin(name, report.plugin)}: {_unsettled(report, subject.gates().get(name))}")
        elif desired.table(name).complete and not report.complete:
            # The missing inputs have arrived, and the surplus that they reveal is still there.
            found.append(f"{name}: waiting for the next check, now that all inputs are known")
        elif report.desired != wanted_now:
            found.append(f"{name}: {wanted_now} wanted, {report.desired} at the last reading")
    for ref, conditions in desired.conditions.items():
        found += [f"{ref}: {each.message}" for each in conditions if each.status != "True"]
    wanted = desired.table("bgp/sessions").values
    for neighbour, session in wanted.items():
        if not live.up(neighbour):
            state = live.session(neighbour)
            word = state.state if state else "missing"
            why = f" ({state.last_error})" if state and state.last_error else ""
            found.append(f"session {neighbour} {session.leaf}: {word}{why}")
    return found


def notes(desired: Desired) -> list[str]:
    """Return notes: worth knowing, and no reason not to be ready."""
    return [
        f"{ref}: {each.message}"
        for ref, conditions in desired.conditions.items()
        for each in conditions
        if each.type == "Note"
    ]


def held(reports: Iterable[TableReport]) -> list[str]:
    """Return the tables that keep objects for a time although nothing needs them any longer."""
    return [
        f"{report.name}: {report.held} no longer needed, kept until the hold-down is over"
        for report in reports
        if report.held
    ]


def _unsettled(report: TableReport, gate: Gate | None) -> str:
    failed = next(iter(report.pending.items()), None)
    if failed is not None:
        key, pending = failed
        return f"{key_text(key)}: {pending.error}" + _and_more(len(report.pending) - 1)
    if report.planned:
        return open_ends(gate, report.planned)
    if report.in_sync == report.desired:
        return f"{report.surplus} not yet removed"
    return f"{report.desired - report.in_sync} of {report.desired} not yet as desired"


def _and_more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""
