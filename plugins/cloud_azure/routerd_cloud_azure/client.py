"""The only module that imports the Azure SDK. Its calls block, so each runs in a thread.

Retries of the SDK are off: when to try again is the reconcile loop's decision. Resources are
kept as the JSON that they came in, so that a replacement loses no field that we do not know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Protocol, TypeVar

import attrs

from routerd.errors import PermanentError
from routerd_cloud_azure.faults import no_credentials, service_error, unreachable

T = TypeVar("T")

_CONNECT_SECONDS = 5
_READ_SECONDS = 20
_DEADLINE = 30.0
_OPERATION_SECONDS = 120.0
"""How long an asynchronous operation may take; most take a few seconds."""

POLL_SECONDS = 1.0
"""How often an asynchronous operation is asked after, when the answer has no `Retry-After`."""

_NETWORK = "Microsoft.Network"


@attrs.frozen(kw_only=True)
class ResourceId:
    """The parts of a resource ID; IDs ignore case."""

    group: str
    name: str
    child: str = ""

    @classmethod
    def parse(cls, ref: str) -> ResourceId:
        """Split a resource ID; `PermanentError` when it is none."""
        parts = ref.strip("/").split("/")
        if len(parts) not in {8, 10} or parts[0].lower() != "subscriptions":
            raise PermanentError(f'azure: "{ref}" is no resource ID')
        return cls(group=parts[3], name=parts[7], child=parts[9] if len(parts) == 10 else "")


@attrs.frozen(kw_only=True, eq=False)
class Interface:
    """A network interface; `body` is its whole JSON and `etag` the version that it is."""

    ref: str
    address: IPv4Address
    subnet: str
    primary: bool
    forwarding: bool
    etag: str
    body: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class Route:
    """A user-defined route; `hop` is its type, `address` is set for a `VirtualAppliance`."""

    name: str
    prefix: IPv4Network
    hop: str
    address: IPv4Address | None
    etag: str


class Api(Protocol):
    """What the fabric needs of Azure. Every method raises `ProviderError`."""

    async def interfaces_of(self, group: str, instance: str) -> tuple[Interface, ...]:
        """Return the interfaces in a resource group that belong to a VM, the primary one first."""
        ...

    async def interface(self, ref: str) -> Interface:
        """Return one interface."""
        ...

    async def set_forwarding(self, interface: Interface, enabled: bool) -> None:
        """Replace the interface with one field changed; `StaleError` when it changed since it was read."""
        ...

    async def route_table_of(self, subnet: str) -> str | None:
        """Return the resource ID of the route table of a subnet."""
        ...

    async def routes(self, table: str) -> tuple[Route, ...]:
        """Return the IPv4 routes of a table."""
        ...

    async def put_route(self, table: str, name: str, prefix: IPv4Network, next_hop: IPv4Address) -> None:
        """Make a route to a virtual appliance; `RejectedError` when the prefix is taken."""
        ...

    async def delete_route(self, table: str, name: str, etag: str) -> None:
        """Delete a route as it was read; `StaleError` when it changed since."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


async def connect(subscription: str, client_id: str) -> Api:
    """Import the SDK and return the API of a subscription; raises `ProviderError`."""
    try:
        async with asyncio.timeout(_DEADLINE):
            return await asyncio.to_thread(_connect, subscription, client_id)
    except TimeoutError as exc:
        raise unreachable(
            action="connect", resource=subscription, reason=f"{_DEADLINE:.0f} s passed"
        ) from exc


def _connect(subscription: str, client_id: str) -> Api:
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
        return _SdkApi(NetworkManagementClient(credential, subscription, **bounds), credential)
    except ValueError as exc:
        raise PermanentError(f"azure {subscription}: no client of the SDK, {exc}; check the options") from exc


class _SdkApi:
    def __init__(self, network: Any, credential: Any) -> None:  # noqa: ANN401 - Any: stands in for the SDK's classes
        self._network = network
        self._credential = credential

    async def interfaces_of(self, group: str, instance: str) -> tuple[Interface, ...]:
        listed = await self._guard(
            "networkInterfaces/read",
            group,
            lambda: [each.as_dict() for each in self._network.network_interfaces.list(group)],
        )
        own = [
            _interface(body)
            for body in listed
            if body["properties"].get("virtualMachine", {}).get("id", "").lower() == instance.lower()
        ]
        return tuple(sorted(own, key=lambda each: not each.primary))

    async def interface(self, ref: str) -> Interface:
        where = ResourceId.parse(ref)
        return _interface(
            await self._guard(
                "networkInterfaces/read",
                ref,
                lambda: self._network.network_interfaces.get(where.group, where.name, cls=_raw),
            )
        )

    async def set_forwarding(self, interface: Interface, enabled: bool) -> None:
        where = ResourceId.parse(interface.ref)
        properties = {**interface.body["properties"], "enableIPForwarding": enabled}
        await self._operation(
            "networkInterfaces/write",
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
        where = ResourceId.parse(subnet)
        body = await self._guard(
            "virtualNetworks/subnets/read",
            subnet,
            lambda: self._network.subnets.get(where.group, where.name, where.child, cls=_raw),
        )
        table = body["properties"].get("routeTable")
        return str(table["id"]) if table else None

    async def routes(self, table: str) -> tuple[Route, ...]:
        where = ResourceId.parse(table)
        body = await self._guard(
            "routeTables/read",
            table,
            lambda: self._network.route_tables.get(where.group, where.name, cls=_raw),
        )
        return tuple(_route(each) for each in body["properties"].get("routes", []) if _is_ipv4(each))

    async def put_route(self, table: str, name: str, prefix: IPv4Network, next_hop: IPv4Address) -> None:
        where = ResourceId.parse(table)
        properties = {
            "addressPrefix": str(prefix),
            "nextHopType": "VirtualAppliance",
            "nextHopIpAddress": str(next_hop),
        }
        await self._operation(
            "routeTables/routes/write",
            f"{table} {prefix}",
            lambda: self._network.routes.begin_create_or_update(
                where.group, where.name, name, {"properties": properties}, polling_interval=POLL_SECONDS
            ),
        )

    async def delete_route(self, table: str, name: str, etag: str) -> None:
        where = ResourceId.parse(table)
        await self._operation(
            "routeTables/routes/delete",
            f"{table} {name}",
            lambda: self._network.routes.begin_delete(
                where.group, where.name, name, headers={"If-Match": etag}, polling_interval=POLL_SECONDS
            ),
        )

    async def aclose(self) -> None:
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._network.close()
        self._credential.close()

    async def _operation(self, action: str, resource: str, begin: Callable[[], Any]) -> None:
        """Begin an asynchronous operation and wait for its end."""

        def work() -> None:
            # A `wait` that runs out leaves the operation to Azure; the next pass sees what came of it.
            poller = begin()
            poller.wait(_OPERATION_SECONDS)
            if poller.done():
                poller.result()
            else:
                raise TimeoutError

        await self._guard(action, resource, work, seconds=_OPERATION_SECONDS + _DEADLINE)

    async def _guard(
        self, action: str, resource: str, work: Callable[[], T], seconds: float = _DEADLINE
    ) -> T:
        """Run a blocking call in a thread, under a deadline, with its errors translated."""
        from azure.core import exceptions  # noqa: PLC0415 - loaded already by `connect`

        action = f"{_NETWORK}/{action}"
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.to_thread(work)
        except exceptions.HttpResponseError as exc:
            answer, error = exc.response, exc.error
            # A failure to get a token has no answer of the API, or one of the metadata service.
            if isinstance(exc, exceptions.ClientAuthenticationError) and exc.status_code != 401:
                raise no_credentials(action=action, resource=resource, reason=_brief(exc)) from exc
            headers: Mapping[str, str] = getattr(answer, "headers", {})
            raise service_error(
                action=action,
                resource=resource,
                status=exc.status_code or 0,
                code=(error.code if error else None) or "",
                message=(error.message if error else None) or exc.message,
                request_id=headers.get("x-ms-request-id", ""),
                retry_after=headers.get("Retry-After", ""),
            ) from exc
        except exceptions.AzureError as exc:
            raise unreachable(action=action, resource=resource, reason=_brief(exc)) from exc
        except TimeoutError as exc:
            raise unreachable(action=action, resource=resource, reason=f"{seconds:.0f} s passed") from exc


def _brief(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _raw(answer: Any, *_: object) -> Any:  # noqa: ANN401 - Any: JSON
    """Return the JSON of an answer instead of the SDK's model of it."""
    return answer.http_response.json()


def _interface(body: Mapping[str, Any]) -> Interface:
    properties = body["properties"]
    configs = [each["properties"] for each in properties["ipConfigurations"]]
    first = next((each for each in configs if each.get("primary")), configs[0])
    return Interface(
        ref=body["id"],
        address=IPv4Address(first["privateIPAddress"]),
        subnet=first["subnet"]["id"],
        primary=bool(properties.get("primary", False)),
        forwarding=bool(properties.get("enableIPForwarding", False)),
        etag=body.get("etag", "*"),
        body=body,
    )


def _is_ipv4(route: Mapping[str, Any]) -> bool:
    """Say whether a route is for an IPv4 prefix; others are IPv6 or service tags."""
    try:
        IPv4Network(route["properties"].get("addressPrefix", ""))
    except ValueError:
        return False
    return True


def _route(body: Mapping[str, Any]) -> Route:
    properties = body["properties"]
    address = properties.get("nextHopIpAddress")
    return Route(
        name=body["name"],
        prefix=IPv4Network(properties["addressPrefix"]),
        hop=properties["nextHopType"],
        address=IPv4Address(address) if address else None,
        etag=body.get("etag", "*"),
    )
