"""The only module that imports the Azure SDK. Its calls block, so each runs in a thread.

Retries of the SDK are off: the reconcile loop decides when to retry. Every request takes a token of the
subscription's bucket first, the ones that follow an asynchronous operation too.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv4Address
from typing import Any, TypeVar

from routerd.errors import PermanentError, ProviderError
from routerd.model.addresses import IPNetwork
from routerd.spi import Pacer
from routerd_cloud_azure.faults import (
    ThrottledError,
    held,
    no_credentials,
    service_error,
    unreachable,
)
from routerd_cloud_azure.inventory import Interface, ResourceId, Route, RouteTable, appliance
from routerd_cloud_azure.judge import Edit, edited
from routerd_cloud_azure.limits import (
    DELETE_ROUTE,
    LIMITS,
    OWN,
    READ_INTERFACE,
    READ_SUBNET,
    READ_TABLE,
    WRITE_INTERFACE,
    WRITE_ROUTE,
    WRITE_TABLE,
    Grant,
)

T = TypeVar("T")

_CONNECT_SECONDS = 5
_READ_SECONDS = 20
_DEADLINE = 30.0
_HELD_SECONDS = 15.0
"""Seconds that a request waits for its token; then it fails, and the loop retries it."""
_OPERATION_SECONDS = 120.0
"""Seconds that an asynchronous operation may take; most take a few."""

POLL_SECONDS = 0.5
"""Seconds between two polls of an asynchronous operation, if the answer has no `Retry-After`."""

_ROUTES_PER_TABLE = "RoutesPerRouteTable"
_PERMISSIONS_VERSION = "2022-04-01"


async def connect(subscription: str, client_id: str, pacer: Pacer) -> "Client":
    """Import the SDK and return the API of a subscription; raises `ProviderError`."""
    pace = _Pace(pacer, asyncio.get_running_loop(), subscription)
    try:
        async with asyncio.timeout(_DEADLINE):
            return await asyncio.to_thread(_connect, subscription, client_id, pace)
    except TimeoutError as exc:
        raise unreachable(
            action="connect", resource=subscription, reason=f"{_DEADLINE:.0f} s passed"
        ) from exc


class _Pace:
    """A policy of the SDK's pipeline: each request, in its thread, takes a token of the event loop.

    `next` is the policy after it, set by the pipeline.
    """

    next: Any  # Any: the next policy, of one of two classes

    def __init__(self, pacer: Pacer, loop: asyncio.AbstractEventLoop, subscription: str) -> None:
        self.pacer = pacer
        self._loop = loop
        self._subscription = subscription

    def send(self, request: Any) -> Any:  # noqa: ANN401 - Any: the pipeline's request and response
        """Send a request when it is its turn."""
        turn = asyncio.run_coroutine_threadsafe(self.pacer.take(), self._loop)
        try:
            turn.result(_HELD_SECONDS)
        except TimeoutError as exc:
            turn.cancel()
            raise held(resource=self._subscription, seconds=_HELD_SECONDS) from exc
        return self.next.send(request)


def _connect(subscription: str, client_id: str, pace: _Pace) -> "Client":
    from azure.identity import ManagedIdentityCredential  # noqa: PLC0415 - only a host on Azure should pay
    from azure.mgmt.network import NetworkManagementClient  # noqa: PLC0415 - as above

    # Any: the pipeline's settings, which the constructors take as open keywords.
    bounds: dict[str, Any] = {
        "connection_timeout": _CONNECT_SECONDS,
        "read_timeout": _READ_SECONDS,
        "retry_total": 0,
    }
    try:
        credential = ManagedIdentityCredential(client_id=client_id or None, **bounds)
        network = NetworkManagementClient(credential, subscription, per_retry_policies=[pace], **bounds)
        return Client(network, credential, subscription, pace.pacer)
    except ValueError as exc:
        raise PermanentError(
            f"azure {subscription}: the SDK made no client, {exc}; check the options"
        ) from exc


class Client:
    """The calls to Azure that the fabric makes. Every method raises `ProviderError`."""

    # Any: stands in for the SDK's classes.
    def __init__(self, network: Any, credential: Any, subscription: str, pacer: Pacer) -> None:  # noqa: ANN401
        self._network = network
        self._credential = credential
        self._pacer = pacer
        self._subscription = subscription.lower()

    def _where(self, ref: str) -> ResourceId:
        """Split a resource ID; the SDK's client takes names in its own subscription only."""
        where = ResourceId.parse(ref)
        if where.subscription != self._subscription:
            raise PermanentError(
                f"azure {ref}: belongs to another subscription than ours, {self._subscription}; name "
                "resources of one subscription, or set subscriptionID"
            )
        return where

    async def interfaces_of(self, group: str, instance: str) -> tuple[Interface, ...]:
        """Return the interfaces in a resource group that belong to a VM, the primary one first."""
        listed = await self._guard(
            READ_INTERFACE,
            group,
            lambda: [each.as_dict() for each in self._network.network_interfaces.list(group)],
        )
        own = [
            Interface.of(body)
            for body in listed
            if body["properties"].get("virtualMachine", {}).get("id", "").lower() == instance.lower()
        ]
        return tuple(sorted(own, key=lambda each: not each.primary))

    async def interface(self, ref: str) -> Interface:
        """Return one interface."""
        where = self._where(ref)
        return Interface.of(
            await self._guard(
                READ_INTERFACE,
                ref,
                lambda: self._network.network_interfaces.get(where.group, where.name, cls=_raw),
            )
        )

    async def set_forwarding(self, interface: Interface, enabled: bool) -> None:
        """Replace the interface with one field changed; `StaleError` when it changed since it was read."""
        where = self._where(interface.ref)
        properties = {**interface.body["properties"], "enableIPForwarding": enabled}
        await self._operation(
            WRITE_INTERFACE,
            interface.ref,
            lambda: self._network.network_interfaces.begin_create_or_update(
                where.group,
                where.name,
                {**interface.body, "properties": properties},
                headers={"If-Match": interface.etag},
                polling_interval=POLL_SECONDS,
            ),
        )

    async def route_table_of(self, subnet: str) -> str | None:
        """Return the resource ID of the route table of a subnet."""
        where = self._where(subnet)
        body = await self._guard(
            READ_SUBNET,
            subnet,
            lambda: self._network.subnets.get(where.group, where.name, where.child, cls=_raw),
        )
        table = body["properties"].get("routeTable")
        return str(table["id"]) if table else None

    async def route_table(self, ref: str) -> RouteTable:
        """Return a route table with its routes."""
        where = self._where(ref)
        return RouteTable.of(
            await self._guard(
                READ_TABLE,
                ref,
                lambda: self._network.route_tables.get(where.group, where.name, cls=_raw),
            )
        )

    async def write_table(self, table: RouteTable, edits: Sequence[Edit]) -> None:
        """Replace a table as it was read with edits made; `StaleError` when it changed since."""
        where, body = self._where(table.ref), edited(table, edits)
        await self._operation(
            WRITE_TABLE,
            table.ref,
            lambda: self._network.route_tables.begin_create_or_update(
                where.group,
                where.name,
                body,
                headers={"If-Match": table.etag},
                cls=_raw,
                polling_interval=POLL_SECONDS,
            ),
        )

    async def put_route(
        self, table: str, name: str, prefix: IPNetwork, next_hop: IPv4Address, etag: str
    ) -> Route:
        """Make a route to a virtual appliance, or replace the one of an ETag; return what is there then.

        `RejectedError` when the prefix is taken, `StaleError` when the one to replace has changed.
        """
        where = self._where(table)
        written = await self._operation(
            WRITE_ROUTE,
            f"{table} {prefix}",
            lambda: self._network.routes.begin_create_or_update(
                where.group,
                where.name,
                name,
                {"properties": appliance(prefix, next_hop)},
                headers={"If-Match": etag} if etag else {},
                cls=_raw,
                polling_interval=POLL_SECONDS,
            ),
        )
        return Route.of(written)

    async def delete_route(self, table: str, name: str, etag: str) -> None:
        """Delete a route as it was read; `StaleError` when it changed since."""
        where = self._where(table)
        await self._operation(
            DELETE_ROUTE,
            f"{table} {name}",
            lambda: self._network.routes.begin_delete(
                where.group, where.name, name, headers={"If-Match": etag}, polling_interval=POLL_SECONDS
            ),
        )

    async def routes_limit(self, location: str) -> int | None:
        """Return how many routes a table of the subscription may hold in a region, if Azure says so."""
        listed = await self._guard(
            LIMITS,
            location,
            lambda: [each.as_dict() for each in self._network.usages.list(location)],
        )
        limits = (each["limit"] for each in listed if each["name"]["value"] == _ROUTES_PER_TABLE)
        return next(limits, None)

    async def permissions(self, scope: str) -> tuple[Grant, ...]:
        """Return the permissions of the identity at a resource ID ("Permissions - List For Resource")."""
        from azure.core.rest import HttpRequest  # noqa: PLC0415 - loaded already by `connect`

        def pages() -> Iterable[Any]:
            path = f"{scope}/providers/Microsoft.Authorization/permissions"
            url: str | None = f"{path}?api-version={_PERMISSIONS_VERSION}"
            while url:
                answer = self._network.send_request(HttpRequest("GET", url))
                answer.raise_for_status()
                page = answer.json()
                yield from page.get("value", [])
                url = page.get("nextLink")

        found = await self._guard(OWN, scope, lambda: list(pages()))
        return tuple(Grant.of(each) for each in found)

    async def aclose(self) -> None:
        """Close the connections."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._network.close()
        self._credential.close()

    async def _operation(self, action: str, resource: str, begin: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Begin an asynchronous operation, wait for its end and return its result (Any: JSON)."""

        def work() -> Any:  # noqa: ANN401 - Any: as above
            # A `wait` that runs out leaves the operation to Azure; the next pass sees its result.
            poller = begin()
            poller.wait(_OPERATION_SECONDS)
            if not poller.done():
                raise TimeoutError
            return poller.result()

        return await self._guard(action, resource, work, seconds=_OPERATION_SECONDS + _DEADLINE)

    async def _guard(
        self,
        action: str,
        resource: str,
        work: Callable[[], T],
        seconds: float = _DEADLINE,
    ) -> T:
        """Run a blocking call in a thread, under a deadline, and translate its errors."""
        from azure.core import exceptions  # noqa: PLC0415 - loaded already by `connect`

        seconds += _HELD_SECONDS
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.to_thread(work)
        except exceptions.HttpResponseError as exc:
            error = _translated(exc, action, resource)
            if isinstance(error, ThrottledError) and error.retry_after is not None:
                self._pacer.hold(error.retry_after.total_seconds())
            raise error from exc
        except exceptions.AzureError as exc:
            raise unreachable(action=action, resource=resource, reason=_brief(exc)) from exc
        except TimeoutError as exc:
            raise unreachable(action=action, resource=resource, reason=f"{seconds:.0f} s passed") from exc


def _translated(exc: Any, action: str, resource: str) -> ProviderError:  # noqa: ANN401
    """Return our error for an `HttpResponseError` (Any: of the SDK)."""
    from azure.core.exceptions import ClientAuthenticationError  # noqa: PLC0415 - loaded already by `connect`

    # A failure to get a token has no answer of the API, or one of the metadata service.
    if isinstance(exc, ClientAuthenticationError) and exc.status_code != 401:
        return no_credentials(action=action, resource=resource, reason=_brief(exc))
    headers: Mapping[str, str] = getattr(exc.response, "headers", {})
    return service_error(
        action=action,
        resource=resource,
        status=exc.status_code or 0,
        code=(exc.error.code if exc.error else None) or "",
        message=(exc.error.message if exc.error else None) or exc.message,
        request_id=headers.get("x-ms-request-id", ""),
        retry_after=headers.get("Retry-After", ""),
    )


def _brief(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _raw(answer: Any, *_: object) -> Any:  # noqa: ANN401 - Any: JSON
    """Return the JSON of an answer instead of the SDK's model of it."""
    return answer.http_response.json()
