"""Addresses on devices that are not ours: the host's own interfaces and `lo`.

An address of ours carries `IFA_PROTO` 147 (Linux 5.18 and later; an older kernel keeps no such
mark, so there an address is never taken for ours and never removed). One that was there before
us is as good as ours while it is wanted, and stays when it is not.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Interface
from socket import AF_INET
from typing import Any

from pyroute2 import AsyncIPRoute

from routerd.errors import ProviderError, TransientError
from routerd.kernel.netlink import ask, collect, errno_of
from routerd.model.change import Change
from routerd.model.names import LinkName
from routerd.model.route import ROUTE_PROTOCOL, Address, AddressKey

_Found = Mapping[AddressKey, bool]


class AddressTable:
    """Implements `spi.Table[AddressKey, Address]` on rtnetlink."""

    def __init__(self) -> None:
        self._welcome: set[AddressKey] = set()

    async def observe(self) -> Mapping[AddressKey, Address]:
        """Return the addresses that carry our mark, and the foreign ones that serve a wish of ours."""
        found = await _read()
        self._welcome &= found.keys()
        return {key: Address() for key, ours in found.items() if ours or key in self._welcome}

    async def apply(
        self, changes: Sequence[Change[AddressKey, Address]]
    ) -> Mapping[AddressKey, ProviderError]:
        """Add what is missing; remove what carries our mark."""
        failures: dict[AddressKey, ProviderError] = {}
        try:
            found = await _read()
        except ProviderError as error:
            return {change.key: error for change in changes}
        for change in changes:
            try:
                await self._make(change, found)
            except ProviderError as error:
                failures[change.key] = error
        return failures

    async def _make(self, change: Change[AddressKey, Address], found: _Found) -> None:
        key = change.key
        if change.after is None:
            self._welcome.discard(key)
            if found.get(key):
                await _ask("del", key, gone=errno.EADDRNOTAVAIL)
        elif key not in found:
            await _ask("add", key, gone=errno.EEXIST)
            if not (await _read()).get(key, False):
                # This kernel does not keep the mark: the address is there, and that is what counts.
                self._welcome.add(key)
        elif not found[key]:
            self._welcome.add(key)


async def _read() -> dict[AddressKey, bool]:
    """Return all IPv4 addresses, each with whether it carries our mark."""

    async def read(socket: AsyncIPRoute) -> tuple[list[Any], list[Any]]:
        links = await collect(await socket.link("dump"))
        return links, await collect(await socket.addr("dump", family=AF_INET))

    links, addresses = await ask("read addresses", read)
    names = {message["index"]: LinkName(message.get_attr("IFLA_IFNAME")) for message in links}
    found: dict[AddressKey, bool] = {}
    for message in addresses:
        text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        name = names.get(message["index"])
        if text and name is not None:
            key = AddressKey(link=name, address=IPv4Interface(f"{text}/{message['prefixlen']}"))
            found[key] = message.get_attr("IFA_PROTO") == ROUTE_PROTOCOL
    return found


async def _ask(verb: str, key: AddressKey, *, gone: int) -> None:
    async def request(socket: AsyncIPRoute) -> None:
        indices = await socket.link_lookup(ifname=key.link)
        if not indices:
            if verb == "del":
                return
            raise TransientError(f"address {key.address}: link {key.link} does not exist")
        await socket.addr(
            verb,
            index=indices[0],
            address=str(key.address.ip),
            prefixlen=key.address.network.prefixlen,
            proto=ROUTE_PROTOCOL,
        )

    try:
        await ask(f"{verb} address {key.address} on {key.link}", request)
    except ProviderError as error:
        if errno_of(error) != gone:
            raise
