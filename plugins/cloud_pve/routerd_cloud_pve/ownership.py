"""Whose a route in a guest is, and what may be done about it. Pure.

A route of the site's routers carries routerd's protocol number; its gateway says which of them made
it. Any other route is foreign, and so is one of theirs that leads to nobody whom we know.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import attrs

from routerd.errors import NotOwnedError, PermanentError, TransientError
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute, FabricRouteKey
from routerd_cloud_pve import guest
from routerd_cloud_pve.config import Guest
from routerd_cloud_pve.guest import GuestRoute, Step

RouteChange = Change[FabricRouteKey, FabricRoute]


@attrs.frozen(kw_only=True)
class Routers:
    """The routers of our site by their addresses in it: ours, and the others'."""

    ours: IPv4Address
    others: frozenset[IPv4Address] = frozenset()

    def of(self, route: GuestRoute) -> IPv4Address | None:
        """Return which of them a route leads to."""
        return next((each for each in (self.ours, *self.others) if route.leads_to(each)), None)

    def named(self, next_hop: str) -> IPv4Address | None:
        """Return which of them a next hop is."""
        return next((each for each in (self.ours, *self.others) if str(each) == next_hop), None)


def judge(member: Guest, change: RouteChange, standing: GuestRoute | None, routers: Routers) -> Step | None:
    """Return what makes a change in a guest where `standing` is the route, or none when it is made.

    Raises `NotOwnedError` when the route is somebody else's, `PermanentError` for what is never done, and
    `TransientError` when another router of the site was faster.
    """
    prefix, after = change.key.prefix, change.after
    before = None if change.before is None else routers.named(change.before.next_hop)
    to = None if after is None else routers.named(after.next_hop)
    # A route is led to another router by an undo only, which gives back what was ours meanwhile.
    if after is not None and (to is None or routers.ours not in (to, before)):
        raise PermanentError(
            f"pve guest {member.vmid} route {prefix}: {after.next_hop} is not our gateway {routers.ours}"
        )
    if standing is None:
        return None if to is None else guest.appears(prefix, to, member.device)
    holder = routers.of(standing)
    if holder is None:
        raise foreign(member, standing)
    if holder == to:
        return None
    if to is None:
        if holder != routers.ours:
            raise NotOwnedError(f"{_led(member, prefix, holder)}, which alone removes it")
        return guest.goes(prefix, holder)
    if holder != routers.ours and before not in routers.others:
        raise raced(member, prefix, holder)
    return guest.moves(prefix, holder, to, member.device)


def foreign(member: Guest, route: GuestRoute) -> NotOwnedError:
    """Return the error for a route that none of the site's routers made."""
    effect = ", and it drops what it matches" if route.drops else ""
    return NotOwnedError(
        f"pve guest {member.vmid}: its route {route.prefix} ({route}) is not ours{effect}; remove it or "
        "leave the prefix out"
    )


def raced(member: Guest, prefix: IPv4Network, holder: IPv4Address) -> TransientError:
    """Return the error for a route that another router of the site made first."""
    return TransientError(f"{_led(member, prefix, holder)}, which was faster; it is looked at again")


def _led(member: Guest, prefix: IPv4Network, holder: IPv4Address) -> str:
    return f"pve guest {member.vmid}: its route {prefix} leads to {holder}, another router of the site"
