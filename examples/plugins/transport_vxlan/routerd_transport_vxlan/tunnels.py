"""The table of tunnels: each is a VXLAN device of the kernel with one far end."""

from collections.abc import Mapping, Sequence
from ipaddress import ip_address

import attrs

from routerd.errors import PermanentError, ProviderError, TransientError, UnsupportedError
from routerd.model.addresses import IPAddress
from routerd.model.change import Change
from routerd.model.names import LinkName
from routerd.model.tunnel import Tunnel
from routerd.spi import Link, LinkSpec, PluginContext, apply_each, check_ipv4
from routerd_transport_vxlan.config import VxlanTunnel, resolved

KIND = "vxlan"


class TunnelTable:
    """Implements `spi.AgreeingTable[LinkName, Tunnel]`."""

    def __init__(self, context: PluginContext) -> None:
        self._context = context
        self._kernel = context.kernel

    async def links(self) -> Mapping[LinkName, Link]:
        """Return our devices."""
        found = await self._kernel.links()
        return {name: link for name, link in found.items() if link.kind == KIND and link.owner is not None}

    async def observe(self) -> Mapping[LinkName, Tunnel]:
        """Return our devices as tunnels, with the VNI and the port that they really have."""
        return {name: _tunnel(link) for name, link in (await self.links()).items()}

    def agrees(self, desired: Tunnel, observed: Tunnel) -> bool:
        """Say whether a device is as desired, also where its inner address decides the VNI."""
        try:
            return attrs.evolve(desired, options=resolved(desired)) == observed
        except ValueError:
            return False

    async def apply(self, changes: Sequence[Change[LinkName, Tunnel]]) -> Mapping[LinkName, ProviderError]:
        """Delete first, so that a VNI that moves to another tunnel is free; then make or set."""
        in_order = sorted(changes, key=lambda change: change.after is not None)
        return await apply_each(in_order, self._make)

    async def _make(self, change: Change[LinkName, Tunnel]) -> None:
        self._context.refuse_dry_run()
        present = (await self._kernel.links()).get(change.key)
        mine = present is not None and present.owner is not None and present.kind == KIND
        wanted = change.after
        if wanted is None:
            if mine:
                await self._kernel.delete_link(change.key)
            return
        if present is not None and present.owner is not None and not mine:
            raise TransientError(
                f"link {change.key}: {present.owner} has it as {present.kind}; delete it first"
            )
        spec = _spec(wanted)
        if present is not None and mine and set(spec.data) <= set(present.data):
            await self._kernel.set_link(
                wanted.link, owner=wanted.owner, mtu=wanted.mtu, addresses=wanted.addresses
            )
            return
        if not await self._kernel.supports(KIND):
            raise UnsupportedError(f"tunnel {wanted.link}: this kernel makes no VXLAN; run modprobe vxlan")
        if mine:
            await self._kernel.delete_link(wanted.link)
        await self._kernel.add_link(spec)


def _spec(tunnel: Tunnel) -> LinkSpec:
    check_ipv4(tunnel)
    if tunnel.local is None or tunnel.remote is None:
        raise PermanentError(f"tunnel {tunnel.link}: it has no local and remote address; set both")
    try:
        options = resolved(tunnel)
    except ValueError as error:
        raise PermanentError(f"tunnel {tunnel.link}: {error}") from error
    data: dict[str, int | str] = {
        "vxlan_id": options.vni or 0,
        "vxlan_local": str(tunnel.local),
        "vxlan_group": str(tunnel.remote),
        "vxlan_port": options.port,
        "vxlan_ttl": tunnel.ttl,
        # There is one far end, so the device need not learn where an address is.
        "vxlan_learning": 0,
    }
    return LinkSpec(
        name=tunnel.link, kind=KIND, owner=tunnel.owner, mtu=tunnel.mtu, addresses=tunnel.addresses, data=data
    )


def _tunnel(link: Link) -> Tunnel:
    data = dict(link.data)
    return Tunnel(
        link=link.name,
        mode=KIND,
        owner=link.owner_if_up,
        mtu=link.mtu,
        addresses=link.addresses,
        local=_address(data.get("vxlan_local")),
        remote=_address(data.get("vxlan_group")),
        ttl=int(data.get("vxlan_ttl", 0)),
        options=VxlanTunnel(vni=int(data.get("vxlan_id", 0)) or None, port=int(data.get("vxlan_port", 1))),
    )


def _address(text: int | str | None) -> IPAddress | None:
    return ip_address(str(text)) if text is not None else None
