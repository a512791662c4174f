"""The provider of one mode: the states of its tunnels, and the watch over its relay."""

from collections.abc import Sequence
from pathlib import Path

from routerd.errors import ProviderError
from routerd.model.tunnel import Opening, Tunnel, TunnelState
from routerd.spi import PluginContext
from routerd_transport_ipip.carrier import PROTOCOLS
from routerd_transport_ipip.config import IpipOptions
from routerd_transport_ipip.fou import FouListeners, FouPort
from routerd_transport_ipip.link import RelayLink
from routerd_transport_ipip.packets import overhead
from routerd_transport_ipip.tunnels import TunnelTable

WATCH_SECONDS = 1.0
_NOTE = "userspace: slower than the kernel's own tunnel, which this kernel lacks"
_NOTE_CHOSEN = "userspace: slower than the kernel's own tunnel (`backend: userspace`)"
_NOTE_DISTURBED = (
    "; the kernel's {} module is loaded too and answers each packet with an ICMP error:"
    " use `backend: auto` and make the tunnel again, or unload {}"
)
_DISTURBERS = {
    "ipip": (Path("/sys/module/tunnel4"), _NOTE_DISTURBED.format("ipip", "ipip and tunnel4")),
    "gre": (Path("/sys/module/ip_gre"), _NOTE_DISTURBED.format("gre", "ip_gre")),
}
"""The kernel's receiver of a protocol. It gets the packets of a raw socket too, without a tunnel for them."""


class IpipTransport:
    """Implements `spi.Transport` for one of the modes."""

    def __init__(self, mode: str, context: PluginContext, options: IpipOptions, fou: FouPort) -> None:
        self._mode = mode
        self._context = context
        self._relay = RelayLink(mode, context)
        listeners = FouListeners(context.state_dir, fou)
        self.tunnels = TunnelTable(mode, context.kernel, options.backend, self._relay, listeners)
        self._note = _NOTE_CHOSEN if options.backend == "userspace" else _NOTE

    async def start(self) -> None:
        """Find the relay of an earlier daemon and watch it; change nothing."""
        try:
            await self._relay.tunnels()
        except ProviderError as error:
            self._context.log.warning("relay.silent", mode=self._mode, error=str(error))
        if not self._context.read_only:
            self._context.spawn("watch", self._watch())

    async def aclose(self) -> None:
        """Close the connection; devices and the relay stay."""
        self._relay.close()

    def overhead(self, tunnel: Tunnel) -> int:
        """Return the number of bytes that the encapsulation adds to a packet."""
        return overhead(self._mode, tunnel.key)

    def openings(self, tunnel: Tunnel) -> Sequence[Opening]:
        """Return the mode's IP protocol, or the UDP port on which we listen."""
        if tunnel.encapsulation is not None:
            return [Opening(protocol="udp", port=tunnel.encapsulation.sport)]
        return [Opening(protocol=str(PROTOCOLS[self._mode]))]

    async def states(self) -> Sequence[TunnelState]:
        """Return the state and the backend of each tunnel."""
        found = await self.tunnels.read()
        note = self._note
        if self._mode in _DISTURBERS:
            receiver, disturbed = _DISTURBERS[self._mode]
            note += disturbed if receiver.exists() else ""
        return [
            TunnelState(
                link=name,
                backend="userspace" if name in found.relayed else "kernel",
                up=found.links[name].up,
                rx_bytes=found.links[name].rx_bytes,
                tx_bytes=found.links[name].tx_bytes,
                note=note if name in found.relayed else "",
            )
            for name in found.tunnels
        ]

    async def _watch(self) -> None:
        """Wake the loop when the relay has ended or hung up: its devices are gone."""
        while True:
            await self._context.clock.sleep(WATCH_SECONDS)
            if self._relay.is_lost():
                self._context.log.warning("relay.gone", mode=self._mode)
                self._context.wake()
