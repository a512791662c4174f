"""The tables of subsystems: what each is told, and what it wants."""

from routerd.errors import ProviderError
from routerd.model.change import DesiredTable
from routerd.model.resource import Condition
from routerd.model.route import RejectedRoute
from routerd.model.subsystem import FabricFacts, FabricLink
from routerd.reconcile.derive.inputs import Inputs
from routerd.reconcile.derive.overlay import Adjacencies
from routerd.reconcile.desired import Desired


def facts(inputs: Inputs, links: Adjacencies, rejected: tuple[RejectedRoute, ...]) -> FabricFacts:
    """Return what subsystems are told; a path that is `rejected` is not."""
    barred = {(each.prefix, each.neighbour, each.source) for each in rejected}
    learned = inputs.learned
    return FabricFacts(
        intent=inputs.intent,
        leaves=tuple(sorted((each.claim for each in inputs.active), key=lambda claim: claim.leaf_id)),
        own=inputs.own_claim_list(),
        links=(
            *(
                FabricLink(
                    link=each.tunnel.link,
                    local=each.local,
                    neighbour=each.neighbour,
                    leaf=each.claim.leaf_id if each.claim is not None else "",
                    peer=each.peer if each.claim is None else "",
                )
                for each in links
            ),
            *(FabricLink(link=each.tunnel.link) for each in links.explicit),
        ),
        routes=tuple(
            each
            for each in (learned.routes if learned is not None else ())
            if each.best and (each.prefix, each.neighbour, each.source) not in barred
        ),
        complete=links.complete and (learned is None or learned.complete),
    )


def wanted(inputs: Inputs, known: FabricFacts) -> Desired:
    """Return the tables and conditions of every subsystem.

    The tables of one that gives no answer stay as they are, and the router is not ready.
    """
    tables: dict[str, DesiredTable] = {}
    conditions: dict[str, tuple[Condition, ...]] = {}
    for kind, part in inputs.subsystems.items():
        try:
            derivation = part.derive(known)
        except ProviderError as error:
            tables.update(dict.fromkeys(part.tables, DesiredTable(complete=False)))
            trouble = Condition(
                type="Derived", status="False", reason="SubsystemFailed", message=f"derive: {error}"
            )
            conditions[f"subsystem {kind} (plugin {part.plugin})"] = (trouble,)
            continue
        tables.update(derivation.tables)
        for ref, found in derivation.conditions.items():
            conditions[ref] = (*conditions.get(ref, ()), *found)
    return Desired(tables=tables, conditions=conditions)
