"""How an account and the journal must look when everything has had its time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.cloud.account import Slot
from tests.cloud.chaos_world import World
from tests.cloud.ledger import Ledger


def faults(world: World) -> Iterable[str]:
    """Yield what is not as it should be when everything has had its time."""
    process, view, report = world.process, world.account.view(), world.report()
    assert process is not None
    if report is None or not report.readable:
        yield f"the routes were not read: {report and report.error} {process.router.knowledge.waiting}"
        return
    ledger, inside = Ledger.read(world.state), {str(prefix) for prefix in world.account.inside}
    # What the cloud made long after it was deleted is nobody's any more: a known weakness of every journal.
    others = world.theirs | world.orphans
    desired = world.desired(process.aggregate)
    refused = {
        slot for slot in desired if (slot in view.routes and slot not in view.ours) or slot[1] in inside
    } - view.ours
    said = {_slot(key) for key in report.pending} | {_slot(change.key) for change, _ in report.refused}
    for slot in sorted(desired - refused - view.ours):
        yield f"{slot} is wanted, and is not there"
    for slot in sorted(refused - said):
        yield f"{slot} is refused, and nobody says so"
    for slot in sorted(said - refused):
        yield f"{slot} is pending: {[str(each.error) for each in report.pending.values()]}"
    for slot in sorted(view.ours - desired - others):
        yield f"{slot} leads to us, is not wanted, and is still there"
    for slot in sorted(view.ours - others - ledger.owned()):
        yield f"{slot} was made by us and is not in the journal"
    for slot in sorted(ledger.owned() - view.ours):
        yield f"{slot} is ours by the journal, and is not there"
    for line in ledger.lines:
        if line.outcome == "" and line is ledger.of(line.slot, line.table)[-1]:
            yield f"the journal does not say how {line.verb} of {line.slot} in {line.table} ended"
    switches = world.report("forwarding")
    if not view.switch or switches is None or switches.pending:
        yield f"the switch is {view.switch}: {switches}"


def leftovers(world: World) -> Iterable[str]:
    """Yield what `routerd down` should have put back."""
    view = world.account.view()
    for slot in sorted(view.routes.keys() ^ (world.theirs | world.orphans)):
        yield f"after routerd down {slot} is {'left' if slot in view.routes else 'missing'}"
    if world.switched and view.switch:
        yield "after routerd down the switch is not as it was"


def _slot(key: Any) -> Slot:
    return (str(key.table), str(key.prefix)) if hasattr(key, "prefix") else (str(key), "")
