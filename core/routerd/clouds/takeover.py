"""Which of a site's leaves writes into the cloud: one at a time, after a hold-down. Pure.

The leaves of a placement group announce the same prefixes, each with its priority as MED, and a route
reflector reflects only the best path. A leaf that hears a better path becomes standby at once. A leaf
that hears no better path leads, unless every reflector has only worse ones; after it has led for the whole
hold-down it is active. A leaf without a reflector is isolated: it knows nothing and changes nothing.

What complicates this:
- A refused path may be the better one, so it counts as better.
- A reflector that does not have our path reflects the worse one; the leaf then stands by.
- In a divided fabric two leaves are active. A route that the other took is left to it for a while.
"""

from collections.abc import Hashable, Mapping
from ipaddress import IPv4Address
from typing import Any, Literal

import attrs

from routerd.model.addresses import IPNetwork
from routerd.model.bgp.best_path import order_of
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute
from routerd.model.resource import Condition
from routerd.model.route import LearnedRoute, RouteSet
from routerd.model.specs import BGPRouterSpec
from routerd.reconcile.derive.inputs import Inputs

CONTEST = 900.0
"""Seconds for which a route is left to another leaf that has taken it without being heard.

Both leaves are active then, each by what it hears, because the fabric is divided. Without this pause
the route would change hands for as long as the division lasts.
"""


@attrs.frozen(kw_only=True)
class Share:
    """What a leaf shares with the other leaves of its site; `ref` names its claim."""

    ref: str
    group: str
    priority: int
    prefixes: frozenset[IPNetwork]
    router_id: IPv4Address


def share(inputs: Inputs) -> Share | None:
    """Return what this leaf shares; none when it is the only leaf of its site."""
    router = inputs.intent.first(BGPRouterSpec)
    for claim in inputs.own_claim_list():
        if claim.placement is not None and router is not None:
            return Share(
                ref=claim.ref,
                group=claim.placement.group.strip(),
                priority=claim.placement.priority,
                prefixes=claim.owned,
                router_id=router.spec.router_id,
            )
    return None


@attrs.frozen(kw_only=True)
class Standing:
    """The place of a leaf by what the routing says at one moment; `why` explains it to people."""

    state: Literal["leads", "standby", "isolated"]
    why: str = ""


def standing(mine: Share, learned: RouteSet | None) -> Standing:
    """Return the place of a leaf."""
    if learned is None or not learned.heard:
        return Standing(state="isolated", why="no route reflector has sent all its routes yet")
    rivals = [
        route
        for route in learned.routes
        if route.prefix in mine.prefixes and route.originator != mine.router_id
    ]
    # A reflector that has both compares our path, which differs in MED and router ID only.
    better = [
        route
        for route in rivals
        if order_of(route) < order_of(attrs.evolve(route, med=mine.priority, originator=mine.router_id))
    ]
    best = min(better or rivals, key=order_of, default=None)
    if best is not None and better:
        return Standing(state="standby", why=f"{_who(best)} is active")
    for refused in learned.rejected:
        if refused.prefix in mine.prefixes:
            # Whether it is better cannot be known, so it counts as better.
            return Standing(
                state="standby",
                why=f"{refused.neighbour} has a path to {refused.prefix} that is refused ({refused.reason})",
            )
    if best is not None and learned.heard <= {route.neighbour for route in rivals}:
        return Standing(
            state="standby", why=f"{_who(best)} is active, because no route reflector has our better path"
        )
    return Standing(state="leads")


def _who(route: LearnedRoute) -> str:
    name = f"router {route.originator}" if route.originator is not None else f"neighbour {route.neighbour}"
    return f"{name} with priority {route.med}"


class Election:
    """The place of this leaf in its site, and since when; by a monotonic clock.

    A leaf that shares nothing has no rival and is active at once.
    """

    def __init__(self) -> None:
        self.share: Share | None = None
        self.standing = Standing(state="isolated", why="no routes have been read yet")
        self._since: float | None = None

    def restart(self) -> None:
        """Restart the hold-down; the last result came from another configuration."""
        self._since = None

    def note(self, mine: Share | None, learned: RouteSet | None, now: float) -> None:
        """Take note of what the routing says now."""
        if mine != self.share:
            self._since = None
        self.share = mine
        if mine is None:
            return
        self.standing = standing(mine, learned)
        if self.standing.state != "leads":
            self._since = None
        elif self._since is None:
            self._since = now

    def active(self, hold_down: float, now: float) -> bool:
        """Say whether this leaf may take over: it has led for `hold_down` seconds without a break."""
        if self.share is None:
            return True
        ends = self.ends(hold_down)
        return ends is not None and now >= ends

    def ends(self, hold_down: float) -> float | None:
        """Return when the hold-down ends or ended; none while this leaf does not lead."""
        return None if self._since is None else self._since + hold_down

    def condition(self, hold_down: float, now: float) -> Condition | None:
        """Return in words which leaf is active; none for a leaf that shares nothing."""
        if self.share is None:
            return None
        place = f"in placement group {self.share.group} with priority {self.share.priority}"
        if self.active(hold_down, now):
            reason, words = "Active", f"active {place}"
        elif self.standing.state == "leads":
            reason = "HoldDown"
            words = f"first {place}; will be active after leading for {hold_down:g} s"
        elif self.standing.state == "standby":
            reason, words = "Standby", f"standby {place}: {self.standing.why}"
        else:
            reason = "Isolated"
            words = f"isolated {place}: {self.standing.why}; the cloud's routes stay as they are"
        return Condition(type="Note", status="True", reason=reason, message=words)


def is_waiting(condition: Condition) -> bool:
    """Say whether a condition is the note of a leaf that is not active."""
    return condition.type == "Note" and condition.reason in ("HoldDown", "Standby", "Isolated")


class RoutePermission:
    """What this leaf may do to its site's cloud routes, and which of them it had."""

    def __init__(self, election: Election, own: str, hold_down: float, *, stays: bool = True) -> None:
        """Judge for the router that routes call `own`; `stays=False` when the router is about to leave."""
        self._election = election
        self._own = own
        self._hold_down = hold_down
        self._stays = stays
        self._held: set[Hashable] = set()
        self._lost: dict[Hashable, float] = {}

    def observed(self, routes: Mapping[Hashable, object], now: float) -> None:
        """Take note of the router that each route leads to."""
        if not self._election.active(self._hold_down, now):
            self._held.clear()
            self._lost.clear()
            return
        for key, route in routes.items():
            if route == FabricRoute(next_hop=self._own):
                self.won(key)
            elif key in self._held:
                self._held.discard(key)
                self._lost[key] = now
        for key in self._lost.keys() - routes.keys():
            del self._lost[key]

    def won(self, key: Hashable) -> None:
        """Take note that a route leads to us now."""
        self._held.add(key)
        self._lost.pop(key, None)

    def permits(self, change: Change[Any, Any], now: float) -> bool:  # Any: a change of any table
        """Say whether a change may be made now."""
        alone = self._election.share is None
        if change.verb == "delete":
            # A fabric may not be asked to delete another router's route (spi.site_routes, rule 4).
            ours = change.before == FabricRoute(next_hop=self._own)
            return ours and (alone or not self._stays or self._election.standing.state != "isolated")
        if alone:
            return True
        if not self._election.active(self._hold_down, now):
            return False
        lost = self._lost.get(change.key)
        return lost is None or now - lost >= CONTEST
