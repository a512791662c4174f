"""The routing family: sessions with neighbours, and what they announce."""

from collections.abc import AsyncIterator, Sequence
from ipaddress import IPv4Address
from typing import Protocol

from routerd.model.route import RouteSet
from routerd.model.session import Advertisement, ImportPolicy, Prefix, Session, SessionState, Speaker
from routerd.spi.provider import Lifecycle
from routerd.spi.table import Table


class Routing(Lifecycle, Protocol):
    """Speaks a routing protocol. The core applies the tables in the order of this class."""

    @property
    def speakers(self) -> Table[str, Speaker]:
        """Return the local speaker, keyed by the name of its resource; at most one."""

    @property
    def import_policies(self) -> Table[IPv4Address, ImportPolicy]:
        """Return the import policies by neighbour; a neighbour without one imports nothing."""

    @property
    def sessions(self) -> Table[IPv4Address, Session]:
        """Return the configured sessions by neighbour."""

    @property
    def advertisements(self) -> Table[Prefix, Advertisement]:
        """Return the prefixes that we originate."""

    def learned(self) -> AsyncIterator[RouteSet]:
        """Yield the whole set of learned routes: once at the start, then after each change.

        Quick changes may share one set. The stream ends only with `aclose`.
        """

    async def states(self) -> Sequence[SessionState]:
        """Return the state of each session."""
