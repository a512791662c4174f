"""The host's network stack as plugins see it: links and their addresses.

A plugin with less common needs (WireGuard's generic netlink, fou ports) brings its own client; routes,
sysctls and firewall rules belong to the core.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

import attrs

from routerd.errors import NotOwnedError
from routerd.model.addresses import IPAddress, IPInterface
from routerd.model.names import LinkName
from routerd.model.tunnel import UdpEncapsulation

ALIAS_PREFIX = "routerd:"
"""The prefix of the interface alias of a link of ours; the owner, `Kind/name`, follows it."""

LinkData = tuple[tuple[str, int | str], ...]
"""Attributes of a kind of link by name; addresses are text."""


def _pairs(given: Mapping[str, int | str] | Iterable[tuple[str, int | str]]) -> LinkData:
    return tuple(sorted(dict(given).items()))


@attrs.frozen(kw_only=True)
class _Device:
    """What a device and a device to create have in common."""

    name: LinkName
    kind: str
    mtu: int
    addresses: tuple[IPInterface, ...] = ()
    local: IPAddress | None = None
    remote: IPAddress | None = None
    key: int | None = None
    encapsulation: UdpEncapsulation | None = None
    data: LinkData = attrs.field(default=(), converter=_pairs)


@attrs.frozen(kw_only=True)
class Link(_Device):
    """A network device as the kernel reports it; `kind` is `IFLA_INFO_KIND`, empty for hardware.

    `key` is the key of a GRE device. It is negative for a device with two keys, checksums or sequence
    numbers, which no tunnel of ours has. `data` are the attributes of another kind than `ipip` and `gre`,
    as in `LinkSpec`; a kind whose attributes routerd does not know has none.
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
    """A device to create: `kind` as the kernel calls it (`ipip`, `gre`, `wireguard`, `vxlan`).

    The kernel gives no alias to a device that it creates. So routerd makes the device down and bare, marks
    it `routerd:<owner>` next, and then gives it `mtu` and `addresses` and raises it. A crash may leave it
    down, bare and without an owner; the next `add_link` of the same device replaces that remainder.

    `local`, `remote`, `ttl` and `encapsulation` are for `ipip` and `gre`, `key` for `gre`. `data` has the
    attributes of every other kind by their names in linux/if_link.h, in lower case and without
    `IFLA_`: `{"vxlan_id": 77, "vxlan_local": "192.0.2.1"}`. `add_link` refuses what it cannot hand to
    the kernel.
    """

    owner: str
    ttl: int | None = None


class Kernel(Protocol):
    """Links of this network namespace. Every method may raise `ProviderError`."""

    async def links(self) -> Mapping[LinkName, Link]:
        """Return all links, ours and foreign, by name."""

    async def supports(self, kind: str) -> bool:
        """Say whether this kernel can make links of `kind` (loads the module if it may)."""

    async def add_link(self, spec: LinkSpec) -> None:
        """Create and raise a device; `NotOwnedError` when a foreign one has the name.

        `PermanentError` for a field that the kind does not take, and for `data` that the kernel does not
        know or changes.
        """

    async def set_link(
        self,
        name: LinkName,
        *,
        owner: str,
        mtu: int,
        addresses: tuple[IPInterface, ...],
    ) -> None:
        """Raise a link of ours, and give it this owner, this MTU and exactly these addresses.

        `NotOwnedError` for a link without our alias, `TransientError` for a missing one.
        """

    async def mark_link(self, name: LinkName, *, index: int, owner: str) -> None:
        """Give our alias to a link that the caller itself, or a program of its own, has just made.

        `index` is the interface index of that link. `NotOwnedError` when another link has the name now,
        or when the link has an alias, `TransientError` for a missing one. It is for links that `add_link`
        cannot make; a caller that passes the index of a foreign link takes that link over.
        """

    async def delete_link(self, name: LinkName) -> None:
        """Delete a link of ours; a link that is gone is a success, a foreign one an error."""
