"""A cloud account as a storm needs it: what is in it, and what somebody else does there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network
from typing import Literal, Protocol

import attrs
from aiohttp import web
from tests.support.loopback import Api

from routerd_lab.clouds.trouble import Troubles

Slot = tuple[str, str]
"""A place in a route table: the table and the prefix, both as the journal writes them."""

Hop = Literal["elsewhere", "to us"]


@attrs.frozen(kw_only=True)
class View:
    """Everything in the account that somebody could miss, as text that is compared byte for byte.

    `routes` are IPv4 routes by slot, `ours` the slots of those that lead to our own instance, `rest` is
    everything else but ETags, `switch` whether our instance may forward.
    """

    routes: Mapping[Slot, str]
    ours: frozenset[Slot]
    rest: str
    switch: bool


class Account(Protocol):
    """One emulated cloud with our instance in it. What is called here goes past its API and its trouble.

    `provider` is the profile's and the plugin's word for the cloud, `options` the profile's, `files` what
    they name below DIRECTORY, `tables` the route tables. `prefixes` are to be played with; those `inside`
    the network itself are refused where the cloud cannot route them. With `conditional` no write of the API
    can harm what was changed since it was read; with `creates_conditionally` no creation can, however late
    it comes. `calls` are the operations by the API's own names; answers of `lags` may be stale.
    """

    provider: str
    files: Mapping[str, str]
    tables: Sequence[str]
    prefixes: Sequence[IPv4Network]
    inside: Sequence[IPv4Network]
    conditional: bool
    creates_conditionally: bool
    calls: Sequence[str]
    lags: str

    @property
    def options(self) -> str:
        """Return the profile's options as YAML in one line."""
        ...

    @property
    def troubles(self) -> Troubles:
        """Return how the API's trouble is scripted."""
        ...

    def apis(self) -> Sequence[Api]:
        """Return what is to be served; the network's API comes first."""
        ...

    def writes(self, request: web.Request, body: bytes) -> bool:
        """Say whether a request changes something."""
        ...

    def reads_routes(self, request: web.Request, body: bytes) -> bool:
        """Say whether a request reads a route table."""
        ...

    def view(self) -> View:
        """Return what is in the account."""
        ...

    def place(self, table: str, prefix: IPv4Network, hop: Hop, mark: str) -> None:
        """Put a route there as somebody else would, in place of what stands; `mark` makes it another one."""
        ...

    def remove(self, table: str, prefix: IPv4Network) -> None:
        """Delete the route to a prefix, whoever made it."""
        ...

    def touch(self, mark: str) -> None:
        """Change something else beside the routes."""
        ...

    def set_switch(self, enabled: bool) -> None:
        """Set the forwarding switch of our instance as somebody else would."""
        ...
