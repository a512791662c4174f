"""What a tunnel writes into `spec.options`, there in camel case."""

import attrs

from routerd.model.addresses import IPInterface
from routerd.model.tunnel import Tunnel

LARGEST_VNI = (1 << 24) - 1
DEFAULT_PORT = 4789
"""The UDP port that RFC 7348 assigns; Linux's own default is another one."""


@attrs.frozen(kw_only=True)
class VxlanTunnel:
    """The VXLAN network identifier, and the UDP port at both ends.

    Without `vni` the inner /31 decides, which both ends share and no other tunnel of the router has.
    """

    vni: int | None = None
    port: int = DEFAULT_PORT

    def __attrs_post_init__(self) -> None:
        """Refuse what does not fit into a packet; routerd adds file and line."""
        if self.vni is not None and not 1 <= self.vni <= LARGEST_VNI:
            raise ValueError(f"vni: {self.vni} is not between 1 and {LARGEST_VNI}")
        if not 1 <= self.port <= 65535:
            raise ValueError(f"port: {self.port} is not a port (1 to 65535)")


def resolved(tunnel: Tunnel) -> VxlanTunnel:
    """Return the options of a tunnel with a VNI; `ValueError` where nothing decides it."""
    options = tunnel.options if isinstance(tunnel.options, VxlanTunnel) else VxlanTunnel()
    if options.vni is not None:
        return options
    if not tunnel.addresses:
        raise ValueError("no inner address decides the VNI; set options.vni")
    return attrs.evolve(options, vni=_of_slot(tunnel.addresses[0]))


def _of_slot(address: IPInterface) -> int:
    """Return the number of the address's /31, which is the same at both ends."""
    return (int(address.ip) >> 1) & LARGEST_VNI or LARGEST_VNI
