"""The fabric kind `pve`: routes inside of guests, and an IP filter that lets pass what we forward."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from routerd.errors import NotOwnedError, PermanentError, ProviderError, TransientError
from routerd.model.change import Change
from routerd.model.fabric import (
    FabricRoute,
    FabricRouteKey,
    Forwarding,
    InstanceFacts,
    Nic,
    NicRef,
    RouteTableRef,
)
from routerd.spi import PluginContext, Table
from routerd_cloud_pve import guest
from routerd_cloud_pve.config import Guest, PveOptions
from routerd_cloud_pve.guest import GuestRoute

if TYPE_CHECKING:
    from routerd_cloud_pve.client import Api

RouteChange = Change[FabricRouteKey, FabricRoute]


class PveFabric:
    """One Proxmox VE host as seen from our own guest on it, or from beside it."""

    def __init__(self, ctx: PluginContext, options: PveOptions) -> None:
        self._ctx = ctx
        self.options = options
        self._api: Api | None = None
        self._nodes: Mapping[int, str] = {}
        self.forwarding: Table[NicRef, Forwarding] = _ForwardingTable(self)
        self.routes: Table[FabricRouteKey, FabricRoute] = _RoutesTable(self)

    async def start(self) -> None:
        """Import the SDK and read the token; no request to the API yet."""
        self._api = await asyncio.to_thread(self._connect)

    def _connect(self) -> Api:
        from routerd_cloud_pve.client import Api  # noqa: PLC0415 - the SDK takes a while to import

        return Api(self.options, self._ctx.clock)

    async def aclose(self) -> None:
        """Let go of the API; what the guests hold stays."""
        self._api = None

    async def instance(self) -> InstanceFacts:
        """Return our own guest, where `vmid` says which it is, and the guests to be told of routes."""
        options = self.options
        self._nodes = await self.api.nodes()
        wanted = [each.vmid for each in options.guests] + ([options.vmid] if options.vmid is not None else [])
        for vmid in wanted:
            self.node(vmid)
        nics: tuple[Nic, ...] = ()
        if options.vmid is not None:
            nics = (Nic(ref=_nic(options.vmid), address=options.gateway, primary=True),)
        return InstanceFacts(
            provider="pve",
            instance=f"qemu/{options.vmid}" if options.vmid is not None else options.host,
            nics=nics,
            next_hop=str(options.gateway),
            route_tables=tuple(RouteTableRef(_table(each.vmid)) for each in options.guests),
        )

    @property
    def api(self) -> Api:
        """Return the API; `TransientError` before `start`."""
        if self._api is None:
            raise TransientError("pve: not started yet")
        return self._api

    def node(self, vmid: int) -> str:
        """Return the node on which a guest is; `PermanentError` when the token cannot see it."""
        if vmid not in self._nodes:
            raise PermanentError(
                f"pve guest {vmid}: does not exist, or the token's role lacks VM.Audit on /vms/{vmid}"
            )
        return self._nodes[vmid]

    async def locate(self, vmid: int) -> str:
        """Return the node of a guest, asked anew when it is not known: guests move."""
        if vmid not in self._nodes:
            self._nodes = await self.api.nodes()
        return self.node(vmid)

    def forget(self) -> None:
        """Ask again where the guests are before the next call."""
        self._nodes = {}

    def refuse_dry_run(self) -> None:
        """Raise when nothing may be changed."""
        if self._ctx.read_only:
            raise TransientError("pve: nothing is changed in a dry run")

    def log(self, event: str, **facts: object) -> None:
        """Log a change that was made."""
        self._ctx.log.info(event, **facts)


class _ForwardingTable:
    """The IP filter of our own guest's firewall, inverted."""

    def __init__(self, fabric: PveFabric) -> None:
        self._fabric = fabric

    async def observe(self) -> Mapping[NicRef, Forwarding]:
        vmid = self._fabric.options.vmid
        if vmid is None:
            return {}
        filtered = await self._fabric.api.ip_filter(await self._fabric.locate(vmid), vmid)
        return {_nic(vmid): Forwarding(enabled=not filtered)}

    async def apply(self, changes: Sequence[Change[NicRef, Forwarding]]) -> Mapping[NicRef, ProviderError]:
        failures: dict[NicRef, ProviderError] = {}
        for change in changes:
            # The switch cannot be deleted, only set; a deletion leaves it alone.
            if change.after is None:
                continue
            try:
                await self._set(change.key, enabled=change.after.enabled)
            except ProviderError as error:
                failures[change.key] = error
        return failures

    async def _set(self, nic: NicRef, *, enabled: bool) -> None:
        self._fabric.refuse_dry_run()
        vmid = self._fabric.options.vmid
        if vmid is None or nic != _nic(vmid):
            raise NotOwnedError(f"pve {nic}: is not the guest that we are")
        node = await self._fabric.locate(vmid)
        if await self._fabric.api.ip_filter(node, vmid) == enabled:
            await self._fabric.api.set_ip_filter(node, vmid, not enabled)
            self._fabric.log("pve.forwarding.set", guest=vmid, enabled=enabled)


class _RoutesTable:
    """The routes inside of guests that carry our mark and lead to us."""

    def __init__(self, fabric: PveFabric) -> None:
        self._fabric = fabric

    async def observe(self) -> Mapping[FabricRouteKey, FabricRoute]:
        gateway = self._fabric.options.gateway
        found: dict[FabricRouteKey, FabricRoute] = {}
        for member in self._fabric.options.guests:
            for route in await self._read(member):
                if route.is_ours(gateway):
                    found[_key(member, route.prefix)] = FabricRoute(next_hop=str(gateway))
        return found

    async def apply(self, changes: Sequence[RouteChange]) -> Mapping[FabricRouteKey, ProviderError]:
        failures: dict[FabricRouteKey, ProviderError] = {}
        members = {_table(member.vmid): member for member in self._fabric.options.guests}
        by_table: dict[RouteTableRef, list[RouteChange]] = {}
        for change in changes:
            by_table.setdefault(change.key.table, []).append(change)
        for table, part in by_table.items():
            try:
                self._fabric.refuse_dry_run()
                if table not in members:
                    raise NotOwnedError(f"pve {table}: is none of the guests in the options")
                failures |= await self._change(members[table], part)
            except ProviderError as error:
                failures |= {change.key: error for change in part if change.key not in failures}
        return failures

    async def _change(
        self, member: Guest, changes: Sequence[RouteChange]
    ) -> dict[FabricRouteKey, ProviderError]:
        gateway = self._fabric.options.gateway
        present = {route.prefix: route for route in reversed(await self._read(member))}
        failures: dict[FabricRouteKey, ProviderError] = {}
        add: list[IPv4Network] = []
        remove: list[IPv4Network] = []
        for change in changes:
            prefix, standing = change.key.prefix, present.get(change.key.prefix)
            try:
                if change.after is not None and change.after.next_hop != str(gateway):
                    raise PermanentError(f"pve route {prefix}: {change.after.next_hop} is not our gateway")
                if standing is not None and not standing.is_ours(gateway):
                    raise _foreign(member, standing)
            except ProviderError as error:
                failures[change.key] = error
                continue
            if change.after is None and standing is not None:
                remove.append(prefix)
            elif change.after is not None and standing is None:
                add.append(prefix)
        if add or remove:
            failures |= await self._write(member, add, remove)
        return failures

    async def _write(
        self, member: Guest, add: Sequence[IPv4Network], remove: Sequence[IPv4Network]
    ) -> dict[FabricRouteKey, ProviderError]:
        """Change a guest's table in one command, and look what came of it."""
        gateway = self._fabric.options.gateway
        node = await self._fabric.locate(member.vmid)
        text = guest.batch(add, remove, gateway, member.device)
        done = await self._fabric.api.run(node, member.vmid, guest.BATCH, text)
        ours = {route.prefix for route in await self._read(member) if route.is_ours(gateway)}
        words = done.err.strip().splitlines()[:1] or [f"ip ended with status {done.status}"]
        failed = [prefix for prefix in add if prefix not in ours] + [
            prefix for prefix in remove if prefix in ours
        ]
        made = len(add) + len(remove) - len(failed)
        if made:
            self._fabric.log("pve.routes.changed", guest=member.vmid, routes=made)
        return {
            _key(member, prefix): TransientError(f"pve guest {member.vmid} route {prefix}: {words[0]}")
            for prefix in failed
        }

    async def _read(self, member: Guest) -> list[GuestRoute]:
        try:
            node = await self._fabric.locate(member.vmid)
            done = await self._fabric.api.run(node, member.vmid, guest.SHOW)
        except ProviderError:
            self._fabric.forget()
            raise
        if done.status:
            raise TransientError(
                f"pve guest {member.vmid}: `{' '.join(guest.SHOW)}` ended with status {done.status}: "
                f"{done.err.strip() or 'is iproute2 installed in it?'}"
            )
        try:
            return guest.parse(done.out)
        except (ValueError, KeyError, TypeError) as error:
            raise TransientError(
                f"pve guest {member.vmid}: its ip prints no JSON; it needs iproute2 4.17 or later"
            ) from error


def _nic(vmid: int) -> NicRef:
    return NicRef(f"qemu/{vmid}")


def _table(vmid: int) -> RouteTableRef:
    return RouteTableRef(f"qemu/{vmid}")


def _key(member: Guest, prefix: IPv4Network) -> FabricRouteKey:
    return FabricRouteKey(table=_table(member.vmid), prefix=prefix)


def _foreign(member: Guest, route: GuestRoute) -> NotOwnedError:
    return NotOwnedError(
        f"pve guest {member.vmid}: its route {route.prefix} ({route}) is not ours; remove it or leave the "
        "prefix out"
    )
