"""How a cloud's tables are put into the loop: journaled, gated by the profile's mode, and read seldom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from routerd.clouds.gate import Gate
from routerd.clouds.journal import JournaledTable
from routerd.clouds.site_routes import SiteRoutes
from routerd.model.change import Change
from routerd.model.specs import CloudProviderProfileSpec
from routerd.reconcile.loop import Binding
from routerd.spi import Clock, Fabric
from routerd.store import JournalBook

FABRIC_DEADLINE = 180.0


def fabric_bindings(
    name: str,
    fabric: Fabric,
    journal: JournalBook,
    profile: CloudProviderProfileSpec,
    *,
    clock: Clock,
    site: Callable[[JournaledTable], SiteRoutes] | None = None,
    holds_down: bool = True,
) -> tuple[Binding, Binding]:
    """Return the tables of the cloud `name`, which have a lane of their own.

    `site` makes of the routes those that are for this one of the site's routers to change. Without
    `holds_down` no deletion waits, for who does not stay to make it later.
    """
    switch_gate = Gate(journal, scope=name, table="forwarding", mode=profile.mode)
    route_gate = Gate(journal, scope=name, table="routes", mode=profile.mode)
    switches = JournaledTable(
        fabric.forwarding,
        journal,
        scope=name,
        name="forwarding",
        gate=switch_gate,
        clock=clock,
        # A NIC that is away comes back as it was: what to put back must not be forgotten meanwhile.
        lapses=False,
    )
    journaled = JournaledTable(
        fabric.routes, journal, scope=name, name="routes", gate=route_gate, clock=clock
    )
    routes = site(journaled) if site is not None else journaled
    forwarding = Binding(
        name=f"forwarding/{name}",
        role="forwarding",
        lane=f"fabric/{name}",
        table=switches,
        deadline=FABRIC_DEADLINE,
        permits=_sets,
        gate=switch_gate,
        noticed=switch_gate.noticed,
        quiet=profile.resync_interval.total_seconds(),
    )
    return forwarding, Binding(
        name=f"routes/{name}",
        role="fabric-routes",
        lane=f"fabric/{name}",
        table=routes,
        deadline=FABRIC_DEADLINE,
        permits=routes.permits,
        gate=route_gate,
        noticed=route_gate.noticed,
        quiet=profile.resync_interval.total_seconds(),
        hold_down=profile.removal_hold_down.total_seconds() if holds_down else 0.0,
    )


def _sets(change: Change[Any, Any]) -> bool:
    """Let changes of a switch pass: it is set, and set back, but never deleted."""
    return change.verb != "delete"
