"""The kernel's reverse path filtering (RFC 3704): the devices that filter strictly. Reads only."""

from collections.abc import Iterator
from pathlib import Path

import attrs

from routerd.model.names import LinkName

_STRICT = 1
_DEFAULTS = frozenset({"all", "default"})


@attrs.frozen(kw_only=True)
class StrictLink:
    """A device that drops packets whose source address is reached over another device.

    The kernel uses the larger of the device's own `rp_filter` and that of `all`; 2 is loose. So its
    own setting can make a device loose, and `all` can make it strict (`by_all`).
    """

    link: LinkName
    by_all: bool

    @property
    def setting(self) -> str:
        """Return the sysctl that makes the device strict."""
        return f"net.ipv4.conf.{'all' if self.by_all else self.link}.rp_filter"


def strict_links(root: Path) -> Iterator[StrictLink]:
    """Yield the devices of this namespace that filter strictly; `root` is /proc/sys."""
    directory = root / "net/ipv4/conf"
    everywhere = _value(directory / "all")
    for device in sorted(directory.glob("*")):
        if device.name not in _DEFAULTS and max(_value(device), everywhere) == _STRICT:
            yield StrictLink(link=LinkName(device.name), by_all=_value(device) != _STRICT)


def _value(device: Path) -> int:
    try:
        return int((device / "rp_filter").read_text())
    except (OSError, ValueError):
        return 0  # the device is gone, or this kernel does not filter
