"""The table of tunnels of one mode, on kernel devices and on those of the relay."""

from collections.abc import Collection, Mapping, Sequence

import attrs

from routerd.errors import PermanentError, ProviderError, UnsupportedError
from routerd.model.change import Change
from routerd.model.names import LinkName
from routerd.model.tunnel import Tunnel
from routerd.spi import Kernel, Link, LinkSpec, check_ipv4
from routerd_transport_ipip.fou import FouListeners
from routerd_transport_ipip.link import Relayed, RelayLink

_MODULES = {"ipip": "ipip", "fou": "fou", "gre": "ip_gre"}
"""The kernel module of each mode."""


@attrs.define(kw_only=True)
class World:
    """One reading: all links, the tunnels of the relay, and our tunnels of either backend."""

    links: Mapping[LinkName, Link]
    relayed: Mapping[LinkName, Relayed | None]
    tunnels: Mapping[LinkName, Tunnel]


class TunnelTable:
    """Implements `spi.Table[LinkName, Tunnel]`."""

    def __init__(
        self, mode: str, kernel: Kernel, backend: str, relay: RelayLink, listeners: FouListeners
    ) -> None:
        self._mode = mode
        self._kind = "gre" if mode == "gre" else "ipip"
        self._kernel = kernel
        self._backend = backend
        self._relay = relay
        self._listeners = listeners

    async def observe(self) -> Mapping[LinkName, Tunnel]:
        """Return our tunnels of this mode, of either backend."""
        return (await self.read()).tunnels

    async def read(self) -> World:
        """Read the world once."""
        running = await self._relay.tunnels()
        links = await self._kernel.links()
        relayed = {name: each for name, each in running.items() if name in links}
        ours = {
            name: link
            for name, link in links.items()
            if link.owner is not None
            and link.kind == self._kind
            and name not in relayed
            and self._is_mode(link)
        }
        ports = await self._listeners.ports() if self._mode == "fou" and ours else frozenset()
        tunnels = {name: self._from_kernel(link, ports) for name, link in ours.items()}
        tunnels |= {name: self._from_relay(links[name], each) for name, each in relayed.items()}
        return World(links=links, relayed=relayed, tunnels=tunnels)

    async def apply(self, changes: Sequence[Change[LinkName, Tunnel]]) -> Mapping[LinkName, ProviderError]:
        """Delete, then make; set a tunnel that differs only in MTU and addresses in place.

        Without a change only the listeners of vanished tunnels go.
        """
        failures: dict[LinkName, ProviderError] = {}
        if not changes:
            if self._mode == "fou":
                await self._listeners.keep_only(await self._ports())
            return failures
        try:
            world = await self.read()
            in_kernel = await self._in_kernel(changes, failures)
        except ProviderError as error:
            return {change.key: error for change in changes}
        for change in sorted(changes, key=lambda each: each.after is not None):
            try:
                if change.after is None:
                    await self._delete(change.key, world)
                elif change.key not in failures:
                    await self._make(change.after, world, in_kernel=in_kernel)
            except ProviderError as error:
                failures[change.key] = error
        if self._mode == "fou":
            await self._drop_listeners(changes, failures)
        return failures

    async def _in_kernel(
        self, changes: Sequence[Change[LinkName, Tunnel]], failures: dict[LinkName, ProviderError]
    ) -> bool:
        """Say whether the kernel makes the tunnels; creations fail if it must and cannot."""
        wanted = [change.key for change in changes if change.after is not None]
        if self._backend == "userspace" or not wanted:
            return False
        able = await self._kernel.supports(self._kind)
        if able and self._mode == "fou":
            able = await self._listeners.supported()
        if not able and self._backend == "kernel":
            for key in wanted:
                failures[key] = UnsupportedError(
                    f"tunnel {key}: this kernel makes no {self._mode} tunnels and `backend: kernel` is set;"
                    f" load the module {_MODULES[self._mode]}, or use `backend: auto`"
                )
        return able

    async def _make(self, wanted: Tunnel, world: World, *, in_kernel: bool) -> None:
        _check(wanted)
        present = world.tunnels.get(wanted.link)
        if present == wanted:
            return
        if wanted.link in world.relayed and _same_wire(present, wanted):
            await self._mark(wanted)
            await self._dress(wanted)
            return
        link = world.links.get(wanted.link)
        if wanted.link not in world.tunnels and link is not None:
            _refuse_foreign(link, self._kind)
        if in_kernel:
            await self._make_in_kernel(wanted, world)
        else:
            if present is not None and wanted.link not in world.relayed:
                await self._kernel.delete_link(wanted.link)
            await self._relay.add(wanted)
            await self._mark(wanted)
            await self._dress(wanted)

    async def _make_in_kernel(self, wanted: Tunnel, world: World) -> None:
        if wanted.encapsulation is not None:
            await self._listeners.ensure(wanted.encapsulation.sport)
        link = world.links.get(wanted.link)
        if wanted.link in world.relayed:
            await self._relay.remove(wanted.link)
        elif wanted.link in world.tunnels and link is not None:
            if _wire(link) == _wire(wanted):
                await self._dress(wanted)
                return
            await self._kernel.delete_link(wanted.link)
        await self._kernel.add_link(
            LinkSpec(
                name=wanted.link,
                kind=self._kind,
                owner=wanted.owner,
                mtu=wanted.mtu,
                addresses=wanted.addresses,
                local=wanted.local,
                remote=wanted.remote,
                ttl=wanted.ttl,
                key=wanted.key,
                encapsulation=wanted.encapsulation,
            )
        )

    async def _mark(self, wanted: Tunnel) -> None:
        """Mark a device of the relay that has no alias yet: a new one, or one from before a crash."""
        link = (await self._kernel.links()).get(wanted.link)
        if link is not None and link.owner is None:
            await self._kernel.mark_link(wanted.link, index=link.index, owner=wanted.owner)

    async def _dress(self, wanted: Tunnel) -> None:
        await self._kernel.set_link(
            wanted.link, owner=wanted.owner, mtu=wanted.mtu, addresses=wanted.addresses
        )

    async def _delete(self, name: LinkName, world: World) -> None:
        if name in world.relayed:
            await self._relay.remove(name)
        elif name in world.tunnels:
            await self._kernel.delete_link(name)

    async def _drop_listeners(
        self, changes: Sequence[Change[LinkName, Tunnel]], failures: dict[LinkName, ProviderError]
    ) -> None:
        try:
            await self._listeners.keep_only(await self._ports())
        except ProviderError as error:
            failures.setdefault(changes[0].key, error)

    async def _ports(self) -> list[int]:
        links = (await self._kernel.links()).values()
        return [link.encapsulation.sport for link in links if link.owner and link.encapsulation is not None]

    def _is_mode(self, link: Link) -> bool:
        return self._mode == "gre" or (link.encapsulation is not None) == (self._mode == "fou")

    def _from_kernel(self, link: Link, ports: Collection[int]) -> Tunnel:
        ends = link.encapsulation
        return Tunnel(
            link=link.name,
            mode=self._mode,
            owner=link.owner_if_up,
            mtu=link.mtu,
            addresses=link.addresses,
            local=link.local,
            remote=link.remote,
            ttl=link.ttl,
            key=link.key,
            # A device without its listener is deaf, so it must differ from the desired tunnel.
            encapsulation=ends if ends is None or self._mode == "gre" or ends.sport in ports else None,
        )

    def _from_relay(self, link: Link, relayed: Relayed | None) -> Tunnel:
        """Return the tunnel; without an alias or a relay of our version it differs from every desired one."""
        return Tunnel(
            link=link.name,
            mode=self._mode,
            owner=link.owner_if_up,
            mtu=link.mtu,
            addresses=link.addresses,
            local=relayed.local if relayed is not None else None,
            remote=relayed.remote if relayed is not None else None,
            ttl=relayed.ttl if relayed is not None else 0,
            key=relayed.key if relayed is not None else None,
            encapsulation=relayed.encapsulation if relayed is not None else None,
        )


def _wire(one: Tunnel | Link) -> tuple[object, ...]:
    """Return the properties on the wire; all others can change in place."""
    return one.local, one.remote, one.ttl, one.key, one.encapsulation


def _same_wire(one: Tunnel | None, other: Tunnel) -> bool:
    return one is not None and _wire(one) == _wire(other)


def _refuse_foreign(link: Link, kind: str) -> None:
    if link.owner is not None:
        return  # another provider of ours has it; that one removes it, or the creation fails
    if link.kind == kind and not link.alias and not link.up and not link.addresses:
        return  # the remainder of a crash of ours; the kernel port checks the rest
    raise link.foreign()


def _check(tunnel: Tunnel) -> None:
    check_ipv4(tunnel)
    if tunnel.local is None or tunnel.remote is None:
        raise PermanentError(f"tunnel {tunnel.link}: local and remote address are both needed; set both")
    if tunnel.mode == "fou" and tunnel.encapsulation is None:
        raise PermanentError(f"tunnel {tunnel.link}: fou needs UDP ports; set encapSport and encapDport")
    if tunnel.mode != "fou" and tunnel.encapsulation is not None:
        raise PermanentError(
            f"tunnel {tunnel.link}: {tunnel.mode} has no UDP ports; use mode fou, or remove them"
        )
    if tunnel.key is not None and not 0 <= tunnel.key < 1 << 32:
        raise PermanentError(f"tunnel {tunnel.link}: key {tunnel.key} is not between 0 and 4294967295")
    if tunnel.key is not None and tunnel.mode != "gre":
        raise PermanentError(f"tunnel {tunnel.link}: {tunnel.mode} has no key; remove it, or use mode gre")
