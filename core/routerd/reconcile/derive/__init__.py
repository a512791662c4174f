"""From intent and facts to the desired state. Pure: no I/O, no clock, no randomness.

`inputs` is what is known; `underlay`, `overlay`, `routing`, `forwarding` and `host` each derive the
tables of their layer, `identity` whom a session is held to; `derive` puts them together.
"""

from collections.abc import Mapping

from routerd.model.condition import Condition
from routerd.reconcile.derive import forwarding, host, identity, overlay, routing, underlay
from routerd.reconcile.derive.inputs import Inputs
from routerd.reconcile.desired import EMPTY, Desired, DesiredTable

__all__ = ["Inputs", "derive"]


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
    return Desired(
        tables=tables,
        conditions=_merge(
            links.conditions, underlay.conditions(inputs, devices), identity.conditions(inputs, links)
        ),
        rejected=rejected,
    )


def _merge(*parts: Mapping[str, tuple[Condition, ...]]) -> dict[str, tuple[Condition, ...]]:
    merged: dict[str, tuple[Condition, ...]] = {}
    for part in parts:
        for ref, conditions in part.items():
            merged[ref] = merged.get(ref, ()) + conditions
    return merged
