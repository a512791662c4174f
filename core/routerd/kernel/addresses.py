"""Addresses on devices that are not ours: the host's own interfaces and `lo`.

An address of ours carries `IFA_PROTO` 147 (Linux 5.18 and later). An older kernel keeps no such mark,
so routerd takes no address there for its own and removes none. A foreign address satisfies a desired
one, and stays when it is no longer desired.
"""

import socket
from collections.abc import Mapping, Sequence

from routerd.errors import ProviderError, TransientError
from routerd.kernel.netlink import change_address, read_links
from routerd.model.change import Change
from routerd.model.names import LinkName
from routerd.model.route import ROUTE_PROTOCOL, Address, AddressKey
from routerd.spi import apply_each

_Found = Mapping[AddressKey, bool]


class AddressTable:
    """Implements `spi.Table[AddressKey, Address]` on rtnetlink."""

    def __init__(self) -> None:
        self._welcome: set[AddressKey] = set()

    async def observe(self) -> Mapping[AddressKey, Address]:
        """Return the addresses that carry our mark, and the foreign ones that satisfy a desired one."""
        found = await _read()
        self._welcome &= found.keys()
        return {key: Address() for key, ours in found.items() if ours or key in self._welcome}

    async def apply(
        self, changes: Sequence[Change[AddressKey, Address]]
    ) -> Mapping[AddressKey, ProviderError]:
        """Add missing addresses; remove only those that carry our mark."""
        try:
            found = await _read()
        except ProviderError as error:
            return {change.key: error for change in changes}
        return await apply_each(changes, lambda change: self._make(change, found))

    async def _make(self, change: Change[AddressKey, Address], found: _Found) -> None:
        key = change.key
        if change.after is None:
            self._welcome.discard(key)
            if found.get(key):
                await _change("del", key)
        elif key not in found:
            await _change("add", key)
            if not (await _read()).get(key, False):
                # This kernel does not keep the mark; the address is there all the same.
                self._welcome.add(key)
        elif not found[key]:
            self._welcome.add(key)


async def _read() -> dict[AddressKey, bool]:
    """Return all IPv4 addresses, each with whether it carries our mark."""
    links, addresses = await read_links()
    names = {message["index"]: LinkName(message.get_attr("IFLA_IFNAME")) for message in links}
    return {
        AddressKey(link=names[message["index"]], address=address): (
            message.get_attr("IFA_PROTO") == ROUTE_PROTOCOL
        )
        for message, address in addresses
        if message["index"] in names
    }


async def _change(verb: str, key: AddressKey) -> None:
    try:
        index = socket.if_nametoindex(key.link)
    except OSError as exc:
        if verb == "del":
            return
        raise TransientError(f"address {key.address}: link {key.link} does not exist") from exc
    await change_address(verb, key.link, index, key.address, proto=ROUTE_PROTOCOL)
