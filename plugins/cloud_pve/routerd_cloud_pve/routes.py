"""The routes inside of guests that carry our mark and lead to us, as a keyed table.

A guest in trouble (stopped, without an agent) has no routes that we could see, and keeps no other
guest from being served: what is to be created in it fails by itself, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from routerd.errors import NotOwnedError, PermanentError, ProviderError, TransientError
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute, FabricRouteKey, RouteTableRef
from routerd_cloud_pve import guest
from routerd_cloud_pve.config import Guest
from routerd_cloud_pve.faults import SilentError
from routerd_cloud_pve.guest import GuestRoute, Step

if TYPE_CHECKING:
    from routerd_cloud_pve.client import Done
    from routerd_cloud_pve.fabric import PveFabric

RouteChange = Change[FabricRouteKey, FabricRoute]
Failures = dict[FabricRouteKey, ProviderError]


class GuestRoutes:
    """Implements `spi.Table`: one route table for each guest of the options."""

    def __init__(self, fabric: PveFabric) -> None:
        self._fabric = fabric
        self._troubles: dict[int, str] = {}

    async def observe(self) -> Mapping[FabricRouteKey, FabricRoute]:
        """Return our routes in all guests that answer; raises when there are some and none does."""
        members, gateway = self._fabric.options.guests, self._fabric.options.gateway
        if not members:
            return {}
        await self._fabric.look()
        found: dict[FabricRouteKey, FabricRoute] = {}
        troubles: dict[int, ProviderError] = {}
        for member in members:
            try:
                routes = await self._read(member)
            except SilentError:
                raise
            except ProviderError as error:
                troubles[member.vmid] = error
                continue
            for route in routes:
                if route.is_ours(gateway):
                    found[_key(member, route.prefix)] = FabricRoute(next_hop=str(gateway))
        if len(troubles) == len(members):
            raise next(iter(troubles.values()))
        self._report({vmid: str(error) for vmid, error in troubles.items()})
        return found

    def _report(self, troubles: dict[int, str]) -> None:
        """Log a guest's trouble when it begins or changes."""
        for vmid, text in troubles.items():
            if self._troubles.get(vmid) != text:
                self._fabric.warn("pve.guest.unserved", guest=vmid, error=text)
        self._troubles = troubles

    async def apply(self, changes: Sequence[RouteChange]) -> Mapping[FabricRouteKey, ProviderError]:
        """Change each guest's table in as few commands as the API lets us."""
        failures: Failures = {}
        members = {table_of(member.vmid): member for member in self._fabric.options.guests}
        by_table: dict[RouteTableRef, list[RouteChange]] = {}
        for change in changes:
            by_table.setdefault(change.key.table, []).append(change)
        silence: SilentError | None = None
        for table, part in by_table.items():
            try:
                self._fabric.refuse_dry_run()
                if table not in members:
                    raise NotOwnedError(
                        f"pve {table}: is none of the guests in the options; add it to guests"
                    )
                if silence is not None:
                    raise silence
                await self._change(members[table], part, failures)
            except ProviderError as error:
                silence = error if isinstance(error, SilentError) else silence
                failures |= {change.key: error for change in part if change.key not in failures}
        return failures

    async def _change(self, member: Guest, changes: Sequence[RouteChange], failures: Failures) -> None:
        gateway = self._fabric.options.gateway
        present = await self._table(member)
        add: list[IPv4Network] = []
        remove: list[IPv4Network] = []
        refused: Failures = {}
        for change in changes:
            prefix, standing = change.key.prefix, present.get(change.key.prefix)
            if change.after is not None and change.after.next_hop != str(gateway):
                refused[change.key] = PermanentError(
                    f"pve guest {member.vmid} route {prefix}: {change.after.next_hop} is not our gateway "
                    f"{gateway}"
                )
            elif standing is not None and not standing.is_ours(gateway):
                refused[change.key] = _foreign(member, standing)
            elif change.after is None and standing is not None:
                remove.append(prefix)
            elif change.after is not None and standing is None:
                add.append(prefix)
        failures |= refused
        for portion in guest.portions(guest.steps(add, remove, gateway, member.device)):
            failures |= await self._write(member, portion, removing=set(remove))

    async def _write(self, member: Guest, portion: Sequence[Step], *, removing: set[IPv4Network]) -> Failures:
        """Run one command in a guest; when it complains, look what came of each line."""
        done = await self._run(member, guest.BATCH, guest.script(portion))
        failures: Failures = {}
        if done.status:
            gateway = self._fabric.options.gateway
            present, said = await self._table(member), guest.complaints(portion, done.err)
            for step in portion:
                standing = present.get(step.prefix)
                mine = standing is not None and standing.is_ours(gateway)
                if mine is (step.prefix not in removing):
                    continue
                if standing is not None and not mine and step.prefix not in removing:
                    error: ProviderError = _foreign(member, standing)
                else:
                    words = said.get(step.prefix) or f"ip ended with status {done.status}"
                    error = TransientError(f"pve guest {member.vmid} route {step.prefix}: {words}")
                failures[_key(member, step.prefix)] = error
        if len(failures) < len(portion):
            self._fabric.log("pve.routes.changed", guest=member.vmid, routes=len(portion) - len(failures))
        return failures

    async def _table(self, member: Guest) -> dict[IPv4Network, GuestRoute]:
        """Return a guest's routes by prefix; of several the one that the guest's kernel prefers."""
        # `ip` prints routes to one prefix by their metric, the preferred one first.
        return {route.prefix: route for route in reversed(await self._read(member))}

    async def _read(self, member: Guest) -> list[GuestRoute]:
        done = await self._run(member, guest.SHOW)
        if done.status and guest.too_old(done.err):
            done = await self._run(member, guest.SHOW_BY_NAME)
        where = f"pve guest {member.vmid}"
        if done.status:
            raise TransientError(
                f"{where}: `{' '.join(guest.SHOW)}` ended with status {done.status}, "
                f"{done.err.strip() or 'without a word'}; is iproute2 installed in it?"
            )
        if done.truncated:
            raise TransientError(f"{where}: the agent kept only a part of its routes; it holds too many")
        try:
            return guest.parse(done.out)
        except ValueError as error:
            raise TransientError(
                f"{where}: its ip prints no JSON; it needs iproute2 4.16 or later"
            ) from error

    async def _run(self, member: Guest, command: Sequence[str], text: str = "") -> Done:
        node = await self._fabric.locate(member.vmid)
        return await self._fabric.api.run(node, member.vmid, command, text)


def table_of(vmid: int) -> RouteTableRef:
    """Return how a guest's table is called."""
    return RouteTableRef(f"qemu/{vmid}")


def _key(member: Guest, prefix: IPv4Network) -> FabricRouteKey:
    return FabricRouteKey(table=table_of(member.vmid), prefix=prefix)


def _foreign(member: Guest, route: GuestRoute) -> NotOwnedError:
    return NotOwnedError(
        f"pve guest {member.vmid}: its route {route.prefix} ({route}) is not ours; remove it or leave the "
        "prefix out"
    )
