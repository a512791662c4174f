"""The host's network stack as plugins see it: links and their addresses.

A plugin with less common needs (WireGuard's generic netlink, fou ports) brings its own client; routes,
sysctls and firewall rules belong to the core.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface
from typing import Protocol

import attrs

from routerd.errors import NotOwnedError
from routerd.model.names import LinkName
from routerd.model.tunnel import UdpEncapsulation

ALIAS_PREFIX = "routerd:"
"""The prefix of the interface alias of a link of ours; the owner, `Kind/name`, follows it."""


@attrs.frozen(kw_only=True)
class _Device:
    """What a device and a device to create have in common."""

    name: LinkName
    kind: str
    mtu: int
    addresses: tuple[IPv4Interface, ...] = ()
    local: IPv4Address | None = None
    remote: IPv4Address | None = None
    key: int | None = None
    encapsulation: UdpEncapsulation | None = None


@attrs.frozen(kw_only=True)
class Link(_Device):
    """A network device as the kernel reports it; `kind` is `IFLA_INFO_KIND`, empty for hardware.

    `key` is the key of a GRE device. It is negative for a device with two keys, checksums or sequence
    numbers, which no tunnel of ours has.
    """

    index: int
    up: bool
    alias: str = ""
    ttl: int = 0
    rx_bytes: int = 0
    tx_bytes: int = 0

    @property
    def owner(self) -> str | None:
        """Return the `Kind/name` that the alias carries, or none when the link is not ours."""
        if not self.alias.startswith(ALIAS_PREFIX):
            return None
        return self.alias.removeprefix(ALIAS_PREFIX)

    @property
    def owner_if_up(self) -> str:
        """Return the owner of a link of ours that is up, else nothing.

        A tunnel table observes this owner, so that a link that is down differs and is raised.
        """
        return (self.owner or "") if self.up else ""

    def foreign(self) -> NotOwnedError:
        """Return the error for a change that finds this link, which is not ours, in the way."""
        alias = f"its alias is {self.alias!r}" if self.alias else "it has no alias"
        return NotOwnedError(f"link {self.name}: it exists and is not ours; {alias}; rename or delete it")


@attrs.frozen(kw_only=True)
class LinkSpec(_Device):
    """A device to create: `kind` as the kernel calls it (`ipip`, `gre`, `wireguard`).

    The device comes up with `mtu` and `addresses`, and never without the alias `routerd:<owner>`, so
    that a crash leaves nothing without an owner.
    """

    owner: str
    ttl: int = 64


class Kernel(Protocol):
    """Links of this network namespace. Every method may raise `ProviderError`."""

    async def links(self) -> Mapping[LinkName, Link]:
        """Return all links, ours and foreign, by name."""

    async def supports(self, kind: str) -> bool:
        """Say whether this kernel can make links of `kind` (loads the module if it may)."""

    async def add_link(self, spec: LinkSpec) -> None:
        """Create and raise a device; `NotOwnedError` when a foreign one has the name."""

    async def set_link(
        self,
        name: LinkName,
        *,
        owner: str,
        mtu: int,
        addresses: tuple[IPv4Interface, ...],
    ) -> None:
        """Mark a link as ours, raise it, and give it exactly these addresses and this MTU."""

    async def delete_link(self, name: LinkName) -> None:
        """Delete a link of ours; a link that is gone is a success, a foreign one an error."""
