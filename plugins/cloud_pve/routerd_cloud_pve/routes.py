"""The routes inside of guests that lead to a router of the site, as a keyed table.

A guest in trouble (stopped, without an agent) has no routes that we could see, and keeps no other
guest from being served: what is to be created in it fails by itself, with the reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, TypeVar

from routerd.errors import NotOwnedError, ProviderError, TransientError
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute, FabricRouteKey, RouteTableRef
from routerd_cloud_pve import guest
from routerd_cloud_pve.config import Guest
from routerd_cloud_pve.faults import IN_VAIN
from routerd_cloud_pve.guest import GuestRoute, Step
from routerd_cloud_pve.ownership import foreign, judge, raced

if TYPE_CHECKING:
    from routerd_cloud_pve.client import Done
    from routerd_cloud_pve.fabric import PveFabric

RouteChange = Change[FabricRouteKey, FabricRoute]
Failures = dict[FabricRouteKey, ProviderError]
Routes = dict[IPv4Network, GuestRoute]
T = TypeVar("T")

_SIDE_BY_SIDE = 4
"""Guests served at once; most of the time they are waited for, and not the API."""


class GuestRoutes:
    """Implements `spi.ForeseeingTable`: one route table for each guest of the options."""

    def __init__(self, fabric: PveFabric) -> None:
        self._fabric = fabric
        self._seen: dict[int, Routes] = {}
        self._troubles: dict[int, ProviderError] = {}

    async def observe(self) -> Mapping[FabricRouteKey, FabricRoute]:
        """Return the site's routes in all guests that answer; raises when there are some and none does."""
        members, routers = self._fabric.options.guests, self._fabric.routers
        read = await _each(members, self.table)
        troubles = {vmid: found for vmid, found in read.items() if isinstance(found, ProviderError)}
        seen = {vmid: found for vmid, found in read.items() if not isinstance(found, ProviderError)}
        for error in troubles.values():
            if isinstance(error, IN_VAIN) or len(troubles) == len(members):
                raise error
        self._report(troubles)
        self._seen, self._troubles = seen, troubles
        return {
            FabricRouteKey(table=table_of(vmid), prefix=prefix): FabricRoute(next_hop=str(holder))
            for vmid, routes in seen.items()
            for prefix, route in routes.items()
            if (holder := routers.of(route)) is not None
        }

    def _report(self, troubles: Mapping[int, ProviderError]) -> None:
        """Log a guest's trouble when it begins or changes."""
        for vmid, error in troubles.items():
            if str(self._troubles.get(vmid, "")) != str(error):
                self._fabric.warn("pve.guest.unserved", guest=vmid, error=str(error))

    def foresee(self, changes: Sequence[RouteChange]) -> Mapping[FabricRouteKey, ProviderError]:
        """Return what guests in trouble and foreign routes refuse; a guest's table has no quota."""
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
        """Change each guest's table in as few commands as the API lets us."""
        members, failures = self._members(), Failures()
        by_guest: dict[int, list[RouteChange]] = {}
        for change in changes:
            if change.key.table in members:
                by_guest.setdefault(members[change.key.table].vmid, []).append(change)
            else:
                failures[change.key] = _stranger(change.key.table)

        async def serve(member: Guest) -> Failures:
            self._fabric.refuse_dry_run()
            return await self._change(member, by_guest[member.vmid])

        served = [member for member in members.values() if member.vmid in by_guest]
        for vmid, found in (await _each(served, serve)).items():
            if isinstance(found, ProviderError):
                failures |= {change.key: found for change in by_guest[vmid]}
            else:
                failures |= found
        return failures

    def _members(self) -> dict[RouteTableRef, Guest]:
        return {table_of(member.vmid): member for member in self._fabric.options.guests}

    def _judged(
        self, member: Guest, changes: Iterable[RouteChange], present: Routes, failures: Failures
    ) -> list[Step]:
        """Return what is to be done about changes; what is refused goes into `failures`."""
        steps: list[Step] = []
        for change in changes:
            try:
                step = judge(member, change, present.get(change.key.prefix), self._fabric.routers)
            except ProviderError as error:
                failures[change.key] = error
            else:
                steps += [step] if step is not None else []
        return steps

    async def _change(self, member: Guest, changes: Sequence[RouteChange]) -> Failures:
        failures: Failures = {}
        steps = self._judged(member, changes, await self.table(member), failures)
        # What goes makes room for what comes; a guest's tables are large, but not without end.
        portions = list(guest.portions(sorted(steps, key=lambda step: step.to is not None)))
        for number, portion in enumerate(portions):
            try:
                failures |= await self._write(member, portion)
            except ProviderError as error:
                # What was written before is made, whatever becomes of the rest.
                rest = [step for each in portions[number:] for step in each]
                return failures | {_key(member, step.prefix): error for step in rest}
        return failures

    async def _write(self, member: Guest, portion: Sequence[Step]) -> Failures:
        """Run one command in a guest, and judge by the table that it shows in the end."""
        done = await self._run(member, guest.BATCH, guest.BATCH_BY_NAME, guest.script(portion))
        if not done.out.strip():
            raise TransientError(
                f"pve guest {member.vmid}: `ip` ended with status {done.status} and no table"
            )
        present, said = self._parsed(member, done), guest.complaints(portion, done.err)
        failures: Failures = {}
        for step in portion:
            standing = present.get(step.prefix)
            if step.to == (None if standing is None else self._fabric.routers.of(standing)):
                continue
            error = self._unmade(member, step, standing, said.get(step.prefix))
            if error is not None:
                failures[_key(member, step.prefix)] = error
        if len(failures) < len(portion):
            self._fabric.log("pve.routes.changed", guest=member.vmid, routes=len(portion) - len(failures))
        return failures

    def _unmade(
        self, member: Guest, step: Step, standing: GuestRoute | None, said: str | None
    ) -> ProviderError | None:
        """Return why a step did not lead where it should, or none when that is no failure of ours."""
        holder = None if standing is None else self._fabric.routers.of(standing)
        if step.to is None and holder != self._fabric.routers.ours:
            return None  # Ours is gone; what stands there now was made by somebody meanwhile.
        if standing is not None and holder is None:
            return foreign(member, standing)
        if holder is not None and holder != self._fabric.routers.ours:
            return raced(member, step.prefix, holder)
        words = said or "ip said nothing, and the route is not as it was told"
        return TransientError(f"pve guest {member.vmid} route {step.prefix}: {words}")

    async def table(self, member: Guest) -> Routes:
        """Return all routes of a guest by prefix."""
        done = await self._run(member, guest.SHOW, guest.SHOW_BY_NAME)
        if done.status:
            raise TransientError(
                f"pve guest {member.vmid}: `{' '.join(guest.SHOW)}` ended with status {done.status}, "
                f"{done.err.strip() or 'without a word'}; is iproute2 installed in it?"
            )
        return self._parsed(member, done)

    def _parsed(self, member: Guest, done: Done) -> Routes:
        """Return a guest's routes by prefix; of several the one that the guest's kernel prefers."""
        where = f"pve guest {member.vmid}"
        if done.truncated:
            raise TransientError(f"{where}: the agent kept only a part of its routes; it holds too many")
        try:
            shown = guest.parse(done.out)
        except ValueError as error:
            raise TransientError(
                f"{where}: its ip prints no JSON; it needs iproute2 4.16 or later"
            ) from error
        # `ip` prints routes to one prefix by their metric, the preferred one first.
        return {route.prefix: route for route in reversed(shown)}

    async def _run(self, member: Guest, command: Sequence[str], older: Sequence[str], text: str = "") -> Done:
        """Run a command in a guest, or what it is called where iproute2 is older than 5.3."""
        done = await self._fabric.run(member.vmid, command, text)
        if done.status and guest.too_old(done.err):
            return await self._fabric.run(member.vmid, older, text)
        return done


async def _each(
    members: Sequence[Guest], work: Callable[[Guest], Awaitable[T]]
) -> dict[int, T | ProviderError]:
    """Return what comes of work in each guest; a host that does not answer is not asked for the rest.

    The guests are served side by side, so that one whose agent hangs does not hold up the others.
    """
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
    # The first by itself: it finds out whether the host answers, and on which node the guests are.
    for part in (members[:1], members[1:]):
        for member, result in zip(part, await asyncio.gather(*map(one, part)), strict=True):
            found[member.vmid] = result
    return found


def table_of(vmid: int) -> RouteTableRef:
    """Return how a guest's table is called."""
    return RouteTableRef(f"qemu/{vmid}")


def _key(member: Guest, prefix: IPv4Network) -> FabricRouteKey:
    return FabricRouteKey(table=table_of(member.vmid), prefix=prefix)


def _stranger(table: RouteTableRef) -> NotOwnedError:
    return NotOwnedError(f"pve {table}: is none of the guests in the options; add it to guests")
