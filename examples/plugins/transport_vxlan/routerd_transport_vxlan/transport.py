"""The transport: what a tunnel costs and needs, and the states of all."""

from collections.abc import Sequence

from routerd.model.tunnel import Opening, Tunnel, TunnelState
from routerd.spi import PluginContext
from routerd_transport_vxlan.config import resolved
from routerd_transport_vxlan.tunnels import TunnelTable

OVERHEAD = 20 + 8 + 8 + 14
"""Bytes: the headers of IPv4, UDP and VXLAN, and the Ethernet header of the inner packet."""


class VxlanTransport:
    """Implements `spi.Transport`."""

    def __init__(self, context: PluginContext) -> None:
        self.tunnels = TunnelTable(context)

    async def start(self) -> None:
        """Do nothing: the first tunnel shows whether the kernel has VXLAN."""

    async def aclose(self) -> None:
        """Do nothing: the devices stay."""

    def overhead(self, tunnel: Tunnel) -> int:
        """Return the number of bytes that the encapsulation adds to a packet."""
        del tunnel
        return OVERHEAD

    def openings(self, tunnel: Tunnel) -> Sequence[Opening]:
        """Return the one UDP port on which the far end sends."""
        return [Opening(protocol="udp", port=resolved(tunnel).port)]

    async def states(self) -> Sequence[TunnelState]:
        """Return the state of each tunnel."""
        return [
            TunnelState(
                link=link.name, backend="kernel", up=link.up, rx_bytes=link.rx_bytes, tx_bytes=link.tx_bytes
            )
            for link in (await self.tunnels.links()).values()
        ]
