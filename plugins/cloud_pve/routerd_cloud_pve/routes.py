"""The table `routes`: the routes inside guests that lead to a router of the site."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from routerd.errors import NotOwnedError, ProviderError, TransientError
from routerd.model.addresses import IPNetwork
from routerd.model.fabric import FabricRoute, FabricRouteKey, RouteTableRef
from routerd.spi.site_routes import RouteChange, Write, fault, judge_change
from routerd_cloud_pve import script
from routerd_cloud_pve.account import Account
from routerd_cloud_pve.config import Guest
from routerd_cloud_pve.faults import IN_VAIN
from routerd_cloud_pve.inventory import Done, GuestRoute, parse, table_of
from routerd_cloud_pve.script import Step

Failures = dict[FabricRouteKey, ProviderError]
Routes = dict[IPNetwork, GuestRoute]
T = TypeVar("T")

_SIDE_BY_SIDE = 4
"""Guests served at once; the guests take most of the time, not the API."""

_REMEDY = "remove that route in the guest or leave the prefix out"


class RoutesTable:
    """Implements `spi.ForeseeingTable`: one route table for each guest of the options.

    What complicates this:
    - A guest in trouble (stopped, without an agent) shows no routes and must not delay another guest. A
      change in it fails with the guest's own reason.
    - A host that does not answer would fail every guest in turn. So the first guest goes alone, and its
      answer counts for the others where it is about the host.
    - The agent runs commands and has no transaction. Each line of a batch carries its condition, and the
      table that the batch prints at its end decides what failed.
    - Two lines move a route. The prefix has no route for some microseconds between them, and where the route
      vanishes after the reading, the second line makes it all the same.
    - `ip` before 5.3 does not print numbers, and a guest with it needs other options.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._seen: dict[int, Routes] = {}
        self._troubles: dict[int, ProviderError] = {}

    async def observe(self) -> Mapping[FabricRouteKey, FabricRoute]:
        """Return the site's routes in all guests that answer; raises if there are guests and none answers."""
        members, site = self._account.options.guests, self._account.site
        read = await _each(members, lambda member: read_table(self._account, member))
        troubles = {vmid: found for vmid, found in read.items() if isinstance(found, ProviderError)}
        seen = {vmid: found for vmid, found in read.items() if not isinstance(found, ProviderError)}
        for error in troubles.values():
            if isinstance(error, IN_VAIN) or len(troubles) == len(members):
                raise error
        for vmid, error in troubles.items():
            if str(self._troubles.get(vmid, "")) != str(error):
                self._account.ctx.log.warning("pve.guest.unserved", guest=vmid, error=str(error))
        self._seen, self._troubles = seen, troubles
        return {
            FabricRouteKey(table=table_of(vmid), prefix=prefix): FabricRoute(next_hop=route.next_hop)
            for vmid, routes in seen.items()
            for prefix, route in routes.items()
            if route.next_hop in {site.us, *site.others}
        }

    def foresee(self, changes: Sequence[RouteChange]) -> Mapping[FabricRouteKey, ProviderError]:
        """Return which changes guests in trouble and foreign routes refuse; a guest's table has no quota."""
        members, failures = self._members(), Failures()
        for change in changes:
            member = members.get(change.key.table)
            if member is None:
                failures[change.key] = _stranger(change.key.table)
            elif member.vmid in self._troubles:
                failures[change.key] = self._troubles[member.vmid]
            elif member.vmid in self._seen:
                self._judged(member, [change], self._seen[member.vmid], failures)
        return failures

    async def apply(self, changes: Sequence[RouteChange]) -> Mapping[FabricRouteKey, ProviderError]:
        """Change each guest's table in as few commands as the API allows."""
        members, failures = self._members(), Failures()
        by_guest: dict[int, list[RouteChange]] = {}
        for change in changes:
            if change.key.table in members:
                by_guest.setdefault(members[change.key.table].vmid, []).append(change)
            else:
                failures[change.key] = _stranger(change.key.table)

        async def serve(member: Guest) -> Failures:
            self._account.ctx.refuse_dry_run()
            return await self._change(member, by_guest[member.vmid])

        served = [member for member in members.values() if member.vmid in by_guest]
        for vmid, found in (await _each(served, serve)).items():
            if isinstance(found, ProviderError):
                failures |= {change.key: found for change in by_guest[vmid]}
            else:
                failures |= found
        return failures

    def _is_ours(self, route: GuestRoute | None) -> bool:
        return route is not None and route.next_hop == self._account.site.us

    def _members(self) -> dict[RouteTableRef, Guest]:
        return {table_of(member.vmid): member for member in self._account.options.guests}

    def _judged(
        self, member: Guest, changes: Iterable[RouteChange], present: Routes, failures: Failures
    ) -> list[Step]:
        """Return the steps of changes; the errors of those that are not made go into `failures`."""
        steps: list[Step] = []
        for change in changes:
            prefix, after = change.key.prefix, change.after
            route = present.get(prefix)
            held = None if route is None else route.next_hop
            verdict = judge_change(change, held, self._account.site)
            error = fault(verdict, f"pve guest {member.vmid} route {prefix}", remedy=_REMEDY)
            if error is not None:
                failures[change.key] = error
            elif isinstance(verdict, Write):
                new = None if after is None else after.next_hop
                steps.append(script.step(prefix, held, new, member.device))
        return steps

    async def _change(self, member: Guest, changes: Sequence[RouteChange]) -> Failures:
        failures: Failures = {}
        steps = self._judged(member, changes, await read_table(self._account, member), failures)
        # Deletions first: they make room, since a guest's table is large but not endless.
        portions = list(script.portions(sorted(steps, key=lambda step: step.to is not None)))
        by_prefix = {change.key.prefix: change for change in changes}
        for number, portion in enumerate(portions):
            try:
                failures |= await self._write(member, portion, by_prefix)
            except ProviderError as error:
                # The portions before this one are made, whatever happens to the rest.
                rest = [step for each in portions[number:] for step in each]
                return failures | {by_prefix[step.prefix].key: error for step in rest}
        return failures

    async def _write(
        self, member: Guest, portion: Sequence[Step], changes: Mapping[IPNetwork, RouteChange]
    ) -> Failures:
        """Run one command in a guest, and judge each change again by the table that it prints at its end."""
        where = f"pve guest {member.vmid}"
        done = await _run(self._account, member, script.BATCH, script.BATCH_BY_NAME, script.script(portion))
        if not done.out.strip():
            raise TransientError(f"{where}: `ip` ended with status {done.status} and printed no table")
        present, said = _parsed(member, done), script.complaints(portion, done.err)
        failures: Failures = {}
        # A deletion that the kernel made is done, whatever route is there now.
        undecided = [
            changes[each.prefix]
            for each in portion
            if each.to is not None or each.prefix in said or self._is_ours(present.get(each.prefix))
        ]
        for step in self._judged(member, undecided, present, failures):
            words = said.get(step.prefix, "ip reported no error, but the route is not as requested")
            failures[changes[step.prefix].key] = TransientError(f"{where} route {step.prefix}: {words}")
        if len(failures) < len(portion):
            self._account.ctx.log.info(
                "pve.routes.changed", guest=member.vmid, routes=len(portion) - len(failures)
            )
        return failures


async def read_table(account: Account, member: Guest) -> Routes:
    """Return all routes of a guest by prefix."""
    done = await _run(account, member, script.SHOW, script.SHOW_BY_NAME)
    if done.status:
        raise TransientError(
            f"pve guest {member.vmid}: `{' '.join(script.SHOW)}` ended with status {done.status}; "
            f"{done.err.strip() or 'it printed no error'}; check iproute2 in the guest"
        )
    return _parsed(member, done)


def _parsed(member: Guest, done: Done) -> Routes:
    """Return a guest's routes by prefix; of several the one that the guest's kernel prefers."""
    where = f"pve guest {member.vmid}"
    if done.truncated:
        raise TransientError(f"{where}: the agent kept only a part of its routes; remove some in the guest")
    try:
        shown = parse(done.out)
    except ValueError as error:
        raise TransientError(
            f"{where}: its `ip` did not print routes as JSON; install iproute2 4.16 or later in the guest"
        ) from error
    # `ip` prints the routes of one prefix by their metric, the preferred one first.
    return {route.prefix: route for route in reversed(shown)}


async def _run(
    account: Account, member: Guest, command: Sequence[str], older: Sequence[str], text: str = ""
) -> Done:
    """Run a command in a guest, or its form for iproute2 before 5.3 where that is what the guest has."""
    done = await account.run(member.vmid, command, text)
    if done.status and script.too_old(done.err):
        return await account.run(member.vmid, older, text)
    return done


async def _each(
    members: Sequence[Guest], work: Callable[[Guest], Awaitable[T]]
) -> dict[int, T | ProviderError]:
    """Return the result of work for each guest; a host that does not answer is asked only once."""
    vain: list[ProviderError] = []
    turns = asyncio.Semaphore(_SIDE_BY_SIDE)

    async def one(member: Guest) -> T | ProviderError:
        async with turns:
            if vain:
                return vain[0]
            try:
                return await work(member)
            except ProviderError as error:
                vain.extend([error] if isinstance(error, IN_VAIN) else ())
                return error

    found: dict[int, T | ProviderError] = {}
    # The first goes alone: it shows whether the host answers, and on which node each guest runs.
    for part in (members[:1], members[1:]):
        for member, result in zip(part, await asyncio.gather(*map(one, part)), strict=True):
            found[member.vmid] = result
    return found


def _stranger(table: RouteTableRef) -> NotOwnedError:
    return NotOwnedError(f"pve {table}: the options do not list this guest; add it to guests")
