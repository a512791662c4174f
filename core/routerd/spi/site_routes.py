"""May a router change this route of its site's cloud? One pure judgement for every fabric.

`before` is the next hop that the caller observed, `after` the one it asks for, `present` the one that
the cloud shows now; `None` is "no route". The routers of the site are `us` and the others (A, B).
A stranger (X) is every other next hop.

    before  after  | present: us        A          B          X          None
    ------  -----  + ----------------------------------------------------------
    None    us     | settled     transient  transient  not owned  write
    A       us     | settled     write      transient  not owned  write
    us      None   | write       superseded superseded superseded settled
    us      A      | write       settled    superseded superseded superseded
    None    A      | permanent in every column
    B       A      | permanent in every column
    A       None   | permanent in every column

1. Nothing becomes ours: write where nothing is. Settled where our route is. Transient where another
   router of the site has it: the caller reads again and decides by what is there. Not owned where a
   stranger has it.
2. A's becomes ours (a takeover): the same, and write where A still has it. Where B has it the caller
   needs a new permission, so that is transient.
3. Ours becomes anything else (a removal, an undo, giving back): write only while ours is there. Where
   it is not, what was asked has happened. If something else than what was asked is there, the change is
   superseded: the core tells that once, journals `superseded`, and no undo touches it. So no router
   ever creates a route that leads to another.
4. Everything else is permanent: routerd never asks it.
5. A route to an IPv6 prefix is unsupported: routerd writes none into a cloud yet.

This module holds the judgement and its words. How a cloud writes stays with that cloud.

Added in 1.0.
"""

from collections.abc import Iterable
from datetime import timedelta

import attrs

from routerd.errors import (
    NotOwnedError,
    PermanentError,
    ProviderError,
    SupersededError,
    TransientError,
    UnsupportedError,
)
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute, FabricRouteKey, RouteTableRef

READ_AGAIN = timedelta(seconds=5)
"""Earliest time after which a transient refusal is worth another reading."""

RouteChange = Change[FabricRouteKey, FabricRoute]


@attrs.frozen(kw_only=True)
class SiteRouters:
    """The next hops by which routes name us and the other routers of our site."""

    us: str
    others: frozenset[str] = frozenset()


@attrs.frozen
class Write:
    """Make the change."""


@attrs.frozen(kw_only=True)
class Settled:
    """Write nothing; `superseded` says in words what is there if that is not what was asked."""

    superseded: str = ""


@attrs.frozen(kw_only=True)
class Refused:
    """Write nothing and report `error`; `why` says in words what is there."""

    error: type[ProviderError]
    why: str


Verdict = Write | Settled | Refused


def judge(before: str | None, after: str | None, present: str | None, routers: SiteRouters) -> Verdict:
    """Judge one change by what is there now; the module's docstring has the table."""
    us, others = routers.us, routers.others
    if after == us:
        if present == us:
            return Settled()
        if present is None or (present == before and present in others):
            return Write()
        error = TransientError if present in others else NotOwnedError
        return Refused(error=error, why=_found(present, routers))
    if before == us and (after is None or after in others):
        if present == us:
            return Write()
        return Settled(superseded="" if present == after else _found(present, routers))
    return Refused(
        error=PermanentError,
        why=f"routerd does not turn it from {before or 'nothing'} to {after or 'nothing'}",
    )


def judge_change(change: RouteChange, present: str | None, routers: SiteRouters) -> Verdict:
    """Judge a change as the core asks for it."""
    if change.key.prefix.version != 4:
        return Refused(error=UnsupportedError, why="routerd does not write IPv6 into a cloud yet; use IPv4")
    before, after = (None if route is None else route.next_hop for route in (change.before, change.after))
    return judge(before, after, present, routers)


def fault(verdict: Verdict, subject: str, *, remedy: str = "") -> ProviderError | None:
    """Return what `apply` reports for a verdict; none for a write and for what is as it was asked.

    `remedy` is what the cloud's operator can do about a stranger's route.
    """
    match verdict:
        case Refused(error=error, why=why) if error is NotOwnedError and remedy:
            return error(f"{subject}: {why}; {remedy}")
        case Refused(error=error, why=why) if error is TransientError:
            return error(f"{subject}: {why}; routerd will read the table again", retry_after=READ_AGAIN)
        case Refused(error=error, why=why):
            return error(f"{subject}: {why}")
        case Settled(superseded=found) if found:
            return SupersededError(f"{subject}: {found}; routerd leaves it alone")
    return None


def by_table(changes: Iterable[RouteChange]) -> dict[RouteTableRef, list[RouteChange]]:
    """Return changes by their table, deletions first: in a full table they make room."""
    parts: dict[RouteTableRef, list[RouteChange]] = {}
    for change in sorted(changes, key=lambda each: each.after is not None):
        parts.setdefault(change.key.table, []).append(change)
    return parts


def foreign_table(cloud: str, ref: RouteTableRef) -> NotOwnedError:
    """Return the error of a change in a table that is not one of our subnets'."""
    return NotOwnedError(
        f"{cloud} route table {ref}: does not belong to this instance's subnets; to use it anyway, list it "
        "in routeTables"
    )


def _found(present: str | None, routers: SiteRouters) -> str:
    if present is None:
        return "the route is gone"
    whose = "another router of the site" if present in routers.others else "not a router of this site"
    return f"leads to {present}, {whose}"
