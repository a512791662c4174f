"""The provider of one mode: its table, and how each tunnel does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address

from routerd.errors import NotOwnedError, PermanentError, ProviderError, UnsupportedError
from routerd.model.change import Change
from routerd.model.names import LinkName
from routerd.model.tunnel import Tunnel, TunnelState, UdpEncapsulation
from routerd.spi import Link, LinkSpec, PluginContext
from routerd_transport_ipip.config import IpipOptions
from routerd_transport_ipip.fou import FouListeners
from routerd_transport_ipip.link import RelayLink

OVERHEAD = {"ipip": 20, "fou": 28}
"""Bytes: an IPv4 header, and for foo-over-UDP a UDP header too."""

WATCH_SECONDS = 2.0


class IpipTransport:
    """Implements `spi.Transport` for `ipip` or `fou`."""

    def __init__(self, mode: str, context: PluginContext, options: IpipOptions) -> None:
        self._mode = mode
        self._context = context
        self._relay = RelayLink(mode, context, self._relay_gone)
        self._tunnels = TunnelTable(mode, context, options, self._relay)

    async def start(self) -> None:
        """Watch the relay that may run from an earlier daemon; change nothing."""
        if not self._context.read_only:
            self._context.spawn("watch", self._watch())

    async def aclose(self) -> None:
        """Let go; devices and the relay stay."""
        self._relay.close()

    @property
    def tunnels(self) -> TunnelTable:
        """Return the table of tunnels."""
        return self._tunnels

    def overhead(self, tunnel: Tunnel) -> int:
        """Return how many bytes the encapsulation adds to a packet."""
        del tunnel
        return OVERHEAD[self._mode]

    async def states(self) -> Sequence[TunnelState]:
        """Return how each tunnel does, and which backend runs it."""
        links = await self._context.kernel.links()
        states = []
        for name in await self._tunnels.observe():
            link = links[name]
            userspace = link.kind == "tun"
            states.append(
                TunnelState(
                    link=name,
                    backend="userspace" if userspace else "kernel",
                    up=link.up,
                    rx_bytes=link.rx_bytes,
                    tx_bytes=link.tx_bytes,
                    note="userspace: slower than the kernel's own tunnel" if userspace else "",
                )
            )
        return states

    def _relay_gone(self) -> None:
        self._context.log.warning("relay.gone", mode=self._mode)
        self._context.wake()

    async def _watch(self) -> None:
        """Notice it when the relay dies: its devices have gone with it."""
        while True:
            try:
                await self._relay.watch()
            except ProviderError:
                self._context.wake()
            await self._context.clock.sleep(WATCH_SECONDS)


class TunnelTable:
    """Implements `spi.Table[LinkName, Tunnel]` on kernel devices and relayed ones."""

    def __init__(self, mode: str, context: PluginContext, options: IpipOptions, relay: RelayLink) -> None:
        self._mode = mode
        self._kernel = context.kernel
        self._choice = options.backend
        self._relay = relay
        self._listeners = FouListeners(context.state_dir)

    async def observe(self) -> Mapping[LinkName, Tunnel]:
        """Return our tunnels of this mode, of either backend."""
        relayed = await self._relay.tunnels()
        found: dict[LinkName, Tunnel] = {}
        for link in (await self._kernel.links()).values():
            if link.owner is None:
                continue
            if link.kind == "ipip" and (link.encapsulation is not None) == (self._mode == "fou"):
                found[link.name] = self._tunnel(link, link.owner)
            elif link.kind == "tun" and link.name in relayed:
                found[link.name] = self._relayed(link, link.owner, relayed[link.name])
        return found

    async def apply(self, changes: Sequence[Change[LinkName, Tunnel]]) -> Mapping[LinkName, ProviderError]:
        """Delete, then make; what differs only in MTU and addresses is set in place."""
        failures: dict[LinkName, ProviderError] = {}
        for change in sorted(changes, key=lambda each: each.after is not None):
            try:
                await self._make(change)
            except ProviderError as error:
                failures[change.key] = error
        if self._mode == "fou" and any(change.after is None for change in changes):
            await self._drop_listeners()
        return failures

    async def _make(self, change: Change[LinkName, Tunnel]) -> None:
        present = (await self.observe()).get(change.key)
        if change.after is None:
            if present is not None:
                await self._delete(change.key)
            return
        wanted = change.after
        _check(wanted)
        if present == wanted:
            return
        if present is not None and _same_wire(present, wanted):
            await self._dress(wanted)
            return
        await self._refuse_foreign(wanted.link)
        if await self._in_kernel():
            await self._make_in_kernel(wanted, present)
        else:
            await self._make_relayed(wanted)

    async def _make_in_kernel(self, wanted: Tunnel, present: Tunnel | None) -> None:
        if present is not None:
            await self._delete(wanted.link)
        if wanted.encapsulation is not None:
            await self._listeners.ensure(wanted.encapsulation.sport)
        await self._kernel.add_link(
            LinkSpec(
                name=wanted.link,
                kind="ipip",
                owner=wanted.owner,
                mtu=wanted.mtu,
                addresses=wanted.addresses,
                local=wanted.local,
                remote=wanted.remote,
                ttl=wanted.ttl,
                encapsulation=wanted.encapsulation,
            )
        )

    async def _make_relayed(self, wanted: Tunnel) -> None:
        links = await self._kernel.links()
        present = links.get(wanted.link)
        if present is not None and present.kind == "ipip":
            await self._kernel.delete_link(wanted.link)
        await self._relay.add(wanted)
        await self._dress(wanted)

    async def _dress(self, wanted: Tunnel) -> None:
        await self._kernel.set_link(
            wanted.link, owner=wanted.owner, mtu=wanted.mtu, addresses=wanted.addresses
        )

    async def _delete(self, link: LinkName) -> None:
        if link in await self._relay.tunnels():
            await self._relay.remove(link)
        else:
            await self._kernel.delete_link(link)

    async def _drop_listeners(self) -> None:
        links = (await self._kernel.links()).values()
        ports = [link.encapsulation.sport for link in links if link.owner and link.encapsulation is not None]
        await self._listeners.keep_only(ports)

    async def _in_kernel(self) -> bool:
        if self._choice == "userspace":
            return False
        able = await self._kernel.supports("ipip")
        if able and self._mode == "fou":
            able = await self._listeners.supported()
        if not able and self._choice == "kernel":
            raise UnsupportedError(f"this kernel makes no {self._mode} tunnels, and `backend: kernel` is set")
        return able

    async def _refuse_foreign(self, name: LinkName) -> None:
        link = (await self._kernel.links()).get(name)
        if link is None or link.owner is not None or name in await self._relay.tunnels():
            return
        if link.kind == "ipip" and not link.alias and not link.up and not link.addresses:
            return  # what a crash of ours leaves; the kernel port looks closer
        alias = f"its alias is {link.alias!r}" if link.alias else "it has no alias"
        raise NotOwnedError(f"link {name} exists and is not ours ({alias}); rename or delete it")

    def _tunnel(self, link: Link, owner: str) -> Tunnel:
        return Tunnel(
            link=link.name,
            mode=self._mode,
            owner=owner,
            mtu=link.mtu,
            addresses=link.addresses,
            local=link.local,
            remote=link.remote,
            ttl=link.ttl,
            encapsulation=link.encapsulation,
        )

    def _relayed(self, link: Link, owner: str, relayed: Mapping[str, object]) -> Tunnel:
        ports = UdpEncapsulation(sport=int(str(relayed["sport"])), dport=int(str(relayed["dport"])))
        return Tunnel(
            link=link.name,
            mode=self._mode,
            owner=owner,
            mtu=link.mtu,
            addresses=link.addresses,
            local=IPv4Address(str(relayed["local"])),
            remote=IPv4Address(str(relayed["remote"])),
            ttl=int(str(relayed["ttl"])),
            encapsulation=ports if self._mode == "fou" else None,
        )


def _same_wire(one: Tunnel, other: Tunnel) -> bool:
    """Say whether two tunnels differ in nothing that is on the wire."""
    return (one.local, one.remote, one.ttl, one.encapsulation) == (
        other.local, other.remote, other.ttl, other.encapsulation,
    )  # fmt: skip


def _check(tunnel: Tunnel) -> None:
    if tunnel.local is None or tunnel.remote is None:
        raise PermanentError(f"tunnel {tunnel.link}: local and remote address are both needed")
    if (tunnel.encapsulation is not None) != (tunnel.mode == "fou"):
        raise PermanentError(f"tunnel {tunnel.link}: fou needs UDP ports, and nothing else may have them")
