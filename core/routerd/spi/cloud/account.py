"""An account in a cloud, and the fabric on top of it; a plugin says how to connect and what to find.

Added in 1.0.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import AddressValueError, IPv4Address
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from routerd.errors import TransientError
from routerd.model.fabric import FabricRoute, FabricRouteKey, Finding, Forwarding, InstanceFacts, NicRef
from routerd.spi.cloud.switch_table import Switches, SwitchTable
from routerd.spi.context import PluginContext
from routerd.spi.site_routes import SiteRouters
from routerd.spi.table import ForeseeingTable, Table


class CloudApi(Protocol):
    """The connections to the API of a cloud."""

    async def aclose(self) -> None:
        """Close them."""


C = TypeVar("C", bound=CloudApi)


class CloudAccount(ABC, Generic[C]):
    """What the parts of a fabric share: the context, the API, the site's routers, our own instance.

    `cloud` begins every message. `others` are the next hops by which routes name the site's other routers;
    ours may be among them. `known` is what `find` found last.
    """

    cloud: ClassVar[str]

    def __init__(self, ctx: PluginContext) -> None:
        self.ctx = ctx
        self.others: frozenset[str] = frozenset()
        self.known: InstanceFacts | None = None
        self._api: C | None = None

    @abstractmethod
    async def connect(self) -> C:
        """Find out who we are and import the SDK; send no request to the API yet."""

    @abstractmethod
    async def discover(self) -> InstanceFacts:
        """Return our interfaces and route tables, as the API shows them now."""

    async def open(self) -> None:
        """Connect, in place of an earlier connection."""
        api = await self.connect()
        await self.close()
        self._api = api

    async def close(self) -> None:
        """Close the connections; what the cloud holds stays."""
        api, self._api = self._api, None
        if api is not None:
            await api.aclose()

    @property
    def api(self) -> C:
        """Return the API; raises `TransientError` before `open`."""
        if self._api is None:
            raise TransientError(f"{self.cloud}: not started yet")
        return self._api

    async def find(self) -> InstanceFacts:
        """Return what `discover` finds, and keep it."""
        self.known = await self.discover()
        return self.known

    async def facts(self) -> InstanceFacts:
        """Return what `find` found last."""
        return self.known or await self.find()

    def routers(self, facts: InstanceFacts) -> SiteRouters:
        """Return how routes name us and the site's other routers."""
        return SiteRouters(us=facts.next_hop, others=self.others - {facts.next_hop})


A = TypeVar("A", bound=CloudAccount[Any])  # Any: the fabric does not ask the API


class OwnSwitches(Generic[A]):
    """The part of `spi.Switches` that clouds share: the account, and the interfaces that it finds."""

    def __init__(self, account: A) -> None:
        self.account = account

    async def own(self) -> Sequence[NicRef]:
        """Return our interfaces."""
        return [nic.ref for nic in (await self.account.facts()).nics]


class CloudFabric(Generic[A]):
    """Implements `spi.SharedFabric` and `spi.DiagnosingFabric`: an account, and the two tables on it."""

    def __init__(
        self,
        account: A,
        *,
        switches: Switches[Any],  # Any: how the cloud shows a NIC
        routes: ForeseeingTable[FabricRouteKey, FabricRoute],
        examine: Callable[[A], Awaitable[Sequence[Finding]]],
    ) -> None:
        self.account = account
        self.forwarding: Table[NicRef, Forwarding] = SwitchTable(account.ctx, switches)
        self.routes = routes
        self._examine = examine

    def share(self, next_hops: frozenset[str]) -> None:
        """Learn how routes name the site's other routers."""
        self.account.others = next_hops

    async def start(self) -> None:
        """Open the account; no request to the API yet."""
        await self.account.open()

    async def aclose(self) -> None:
        """Close the connections; what the cloud holds stays."""
        await self.account.close()

    async def instance(self) -> InstanceFacts:
        """Return our interfaces and the route tables that lead to us."""
        return await self.account.find()

    async def diagnose(self) -> Sequence[Finding]:
        """Return what was found of permissions, route tables and limits."""
        return await self._examine(self.account)


def not_addresses(next_hops: Iterable[str]) -> list[str]:
    """Return the entries that are not IPv4 addresses, for a cloud that names routers by address."""
    found = []
    for text in next_hops:
        try:
            IPv4Address(text)
        except AddressValueError:
            found.append(text)
    return sorted(found)
