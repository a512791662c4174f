"""The MTU of devices, asked of the kernel at the moment of need."""

import fcntl
import socket
import struct
from collections.abc import Iterable

from routerd.model.names import LinkName

_SIOCGIFMTU = 0x8921
_IFREQ = struct.Struct("16si20x")


def device_mtus(names: Iterable[LinkName]) -> dict[LinkName, int]:
    """Return the MTU in bytes of each device that exists in our network namespace (netdevice(7))."""
    found: dict[LinkName, int] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asking:
        for name in names:
            try:
                answer = fcntl.ioctl(asking, _SIOCGIFMTU, _IFREQ.pack(name.encode(), 0))
            except OSError:
                continue
            found[name] = _IFREQ.unpack(answer)[1]
    return found
