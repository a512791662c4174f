"""The routing family: what other routers can reach, and what they are told of ours."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from routerd.model.addresses import IPAddress
from routerd.model.route import RouteSet
from routerd.model.session import Advertisement, ImportPolicy, Prefix, Session, SessionState, Speaker
from routerd.spi.provider import Lifecycle
from routerd.spi.table import Table


class Routing(Lifecycle, Protocol):
    """Speaks a routing protocol, or reads routes from anywhere else; the kind is the protocol's name.

    Several may be enabled. The core keeps the routes of each by themselves, and of two that have a prefix
    it installs those of the lower `preference`. Its import policy holds for all of them.
    """

    @property
    def preference(self) -> int:
        """Return the administrative distance, 1 to 255, by which protocols are compared; lower wins.

        The usual values are 1 for static routes, 110 for OSPF, 120 for RIP and 200 for BGP inside an AS.
        """

    @property
    def advertisements(self) -> Table[Prefix, Advertisement]:
        """Return the prefixes that we originate; a protocol that announces nothing keeps them to itself."""

    def learned(self) -> AsyncIterator[RouteSet]:
        """Yield the whole set of learned routes: once at the start, then after each change.

        Quick changes may share one set. The stream ends only with `aclose`.
        """

    async def states(self) -> Sequence[SessionState]:
        """Return the state of each session with a neighbour; nothing for a protocol without sessions."""


class BgpRouting(Routing, Protocol):
    """A routing with `Capability.BGP`; at most one is enabled.

    The core applies the tables in the order of this class, and `advertisements` last.
    """

    @property
    def speakers(self) -> Table[str, Speaker]:
        """Return the local speaker, keyed by the name of its resource; at most one."""

    @property
    def import_policies(self) -> Table[IPAddress, ImportPolicy]:
        """Return the import policies by neighbour; a neighbour without one imports nothing."""

    @property
    def sessions(self) -> Table[IPAddress, Session]:
        """Return the configured sessions by neighbour."""
