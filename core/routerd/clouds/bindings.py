"""A cloud's tables in the loop: journaled, gated by the profile's mode, and read at long intervals."""

from collections.abc import Iterable

from routerd.clouds.gate import Gate
from routerd.clouds.journal import JournaledTable
from routerd.clouds.policy import CloudPolicy
from routerd.clouds.site_routes import SiteRoutes
from routerd.clouds.takeover import RoutePermission
from routerd.model.specs import CloudProviderProfileSpec
from routerd.reconcile.loop import Binding
from routerd.spi import Clock, Fabric, Logger
from routerd.store import JournalBook

FABRIC_DEADLINE = 180.0


def fabric_bindings(
    name: str,
    fabric: Fabric,
    journal: JournalBook,
    profile: CloudProviderProfileSpec,
    *,
    clock: Clock,
    log: Logger,
    permission: RoutePermission,
    holds_down: bool = True,
) -> tuple[Binding, Binding]:
    """Return the tables of the cloud `name`, which have a lane of their own.

    `permission` says what this leaf may do to the routes of its site. With `holds_down=False` no deletion
    waits; a run that ends by itself uses it.
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
        # A NIC that is detached returns as it was, so its original setting must be kept.
        lapses=False,
    )
    routes = SiteRoutes(
        fabric.routes, journal, scope=name, gate=route_gate, clock=clock, log=log, permission=permission
    )
    forwarding = Binding(
        name=f"forwarding/{name}",
        role="forwarding",
        lane=f"fabric/{name}",
        table=switches,
        deadline=FABRIC_DEADLINE,
        policy=CloudPolicy(
            switches,
            gate=switch_gate,  # routerd sets a switch and never deletes one.
            permits=lambda change: change.verb != "delete",
        ),
        quiet=profile.resync_interval.total_seconds(),
    )
    return forwarding, Binding(
        name=f"routes/{name}",
        role="fabric-routes",
        lane=f"fabric/{name}",
        table=routes,
        deadline=FABRIC_DEADLINE,
        policy=CloudPolicy(
            routes,
            gate=route_gate,
            permits=routes.permits,
            hold_down=profile.removal_hold_down.total_seconds() if holds_down else 0.0,
        ),
        quiet=profile.resync_interval.total_seconds(),
    )


def gates(bindings: Iterable[Binding]) -> dict[str, Gate]:
    """Return the gates among `bindings`, by the table's name."""
    return {each.name: each.policy.gate for each in bindings if isinstance(each.policy, CloudPolicy)}
