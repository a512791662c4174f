"""From intent and facts to the desired state. Pure: no I/O, no clock, no randomness.

`inputs` is what is known; `underlay`, `overlay`, `routing`, `forwarding` and `host` each derive the
tables of their layer, `subsystems` those of plugins, `identity` whom a session is held to; `derive` puts
them together.
"""

from collections.abc import Mapping

from routerd.model.change import DesiredTable
from routerd.model.resource import Condition
from routerd.model.subsystem import FabricFacts
from routerd.reconcile.derive import forwarding, host, identity, overlay, routing, subsystems, underlay
from routerd.reconcile.derive.inputs import Inputs
from routerd.reconcile.desired import EMPTY, Desired

__all__ = ["Inputs", "derive", "fabric_facts"]


def derive(inputs: Inputs) -> Desired:
    """Return the desired state for the given inputs."""
    links = overlay.adjacencies(inputs)
    devices = underlay.devices(inputs)
    tables: dict[str, DesiredTable] = {}
    tables.update(underlay.tables(inputs, devices))
    tables.update(overlay.tables(inputs, links))
    tables.update(routing.tables(inputs, links))
    rejected = forwarding.refused(inputs, tables.get("bgp/import_policies", EMPTY))
    tables.update(forwarding.tables(inputs, links, rejected))
    tables.update(host.tables(inputs, links, devices))
    conditions: list[Mapping[str, tuple[Condition, ...]]] = [
        links.conditions,
        underlay.conditions(inputs, devices),
        identity.conditions(inputs, links),
    ]
    if inputs.subsystems:
        more = subsystems.wanted(inputs, subsystems.facts(inputs, links, rejected))
        tables.update(more.tables)
        conditions.append(more.conditions)
    return Desired(tables=tables, conditions=_merge(*conditions), rejected=rejected)


def fabric_facts(inputs: Inputs) -> FabricFacts:
    """Return what subsystems are told for the given inputs."""
    links = overlay.adjacencies(inputs)
    policies = routing.tables(inputs, links).get("bgp/import_policies", EMPTY)
    return subsystems.facts(inputs, links, forwarding.refused(inputs, policies))


def _merge(*parts: Mapping[str, tuple[Condition, ...]]) -> dict[str, tuple[Condition, ...]]:
    merged: dict[str, tuple[Condition, ...]] = {}
    for part in parts:
        for ref, conditions in part.items():
            merged[ref] = merged.get(ref, ()) + conditions
    return merged
