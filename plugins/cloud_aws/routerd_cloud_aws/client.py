"""The only module that imports the AWS SDK. Its calls block, so each runs in a thread.

Retries of the SDK are off: when to try again is the reconcile loop's decision.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import attrs

from routerd.errors import PermanentError, TransientError
from routerd_cloud_aws.faults import no_credentials, service_error, unreachable

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

_CONNECT_SECONDS = 5
_READ_SECONDS = 15
_DEADLINE = 30.0

_TARGETS = (
    "NetworkInterfaceId",
    "GatewayId",
    "NatGatewayId",
    "TransitGatewayId",
    "VpcPeeringConnectionId",
    "EgressOnlyInternetGatewayId",
    "LocalGatewayId",
    "CarrierGatewayId",
    "CoreNetworkArn",
    "InstanceId",
)


@attrs.frozen(kw_only=True)
class Interface:
    """A network interface as the API shows it; `forwarding` is the inverse of `SourceDestCheck`."""

    ref: str
    address: IPv4Address
    subnet: str
    vpc: str
    forwarding: bool


@attrs.frozen(kw_only=True)
class Route:
    """A route as the API shows it; a `blackhole` leads to something that is gone or stopped."""

    prefix: IPv4Network
    target: str
    blackhole: bool = False


@attrs.frozen(kw_only=True)
class RouteTable:
    """A route table: the subnets that it is explicitly associated with, and its IPv4 routes."""

    ref: str
    main: bool
    subnets: tuple[str, ...]
    routes: tuple[Route, ...]


class Api(Protocol):
    """What the fabric needs of EC2. Every method raises `ProviderError`."""

    async def interfaces(self, refs: Sequence[str]) -> tuple[Interface, ...]:
        """DescribeNetworkInterfaces, in the order of `refs`."""
        ...

    async def set_forwarding(self, ref: str, enabled: bool) -> None:
        """ModifyNetworkInterfaceAttribute of the one field."""
        ...

    async def networks(self, vpc: str) -> tuple[IPv4Network, ...]:
        """DescribeVpcs; return its IPv4 prefixes."""
        ...

    async def tables_of(self, vpc: str) -> tuple[RouteTable, ...]:
        """DescribeRouteTables of a VPC."""
        ...

    async def tables(self, refs: Sequence[str]) -> tuple[RouteTable, ...]:
        """DescribeRouteTables by identifier."""
        ...

    async def create_route(self, table: str, prefix: IPv4Network, interface: str) -> None:
        """CreateRoute; `ExistsError` when the prefix is taken."""
        ...

    async def delete_route(self, table: str, prefix: IPv4Network) -> None:
        """DeleteRoute; `MissingError` when there is none."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


async def connect(region: str) -> Api:
    """Import the SDK and return the API of `region`; raises `ProviderError`."""
    try:
        async with asyncio.timeout(_DEADLINE):
            return await asyncio.to_thread(_connect, region)
    except TimeoutError as exc:
        raise unreachable(operation="connect", resource=region, reason=f"{_DEADLINE:.0f} s passed") from exc


def _connect(region: str) -> Api:
    import boto3  # noqa: PLC0415 - half a second that only a host on AWS should pay
    from botocore.config import Config  # noqa: PLC0415 - as above
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - as above

    settings = Config(
        region_name=region,
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"total_max_attempts": 1, "mode": "standard"},
    )
    try:
        # A session of our own: the default one is shared by the whole process.
        return _SdkApi(boto3.session.Session().client("ec2", config=settings))
    except (BotoCoreError, ValueError) as exc:
        raise PermanentError(f"aws {region}: no client of the SDK, {exc}; check the option region") from exc


class _SdkApi:
    def __init__(self, ec2: Any) -> None:  # noqa: ANN401 - Any: its classes are made at run time
        self._ec2 = ec2

    async def interfaces(self, refs: Sequence[str]) -> tuple[Interface, ...]:
        pages = await self._pages(
            "describe_network_interfaces", ",".join(refs), NetworkInterfaceIds=list(refs)
        )
        found = {
            each["NetworkInterfaceId"]: Interface(
                ref=each["NetworkInterfaceId"],
                address=IPv4Address(each["PrivateIpAddress"]),
                subnet=each["SubnetId"],
                vpc=each["VpcId"],
                forwarding=not each["SourceDestCheck"],
            )
            for page in pages
            for each in page["NetworkInterfaces"]
        }
        missing = [ref for ref in refs if ref not in found]
        if missing:
            raise TransientError(f"aws DescribeNetworkInterfaces {missing[0]}: not in the answer")
        return tuple(found[ref] for ref in refs)

    async def set_forwarding(self, ref: str, enabled: bool) -> None:
        await self._call(
            "modify_network_interface_attribute",
            ref,
            NetworkInterfaceId=ref,
            SourceDestCheck={"Value": not enabled},
        )

    async def networks(self, vpc: str) -> tuple[IPv4Network, ...]:
        pages = await self._pages("describe_vpcs", vpc, VpcIds=[vpc])
        return tuple(
            IPv4Network(block["CidrBlock"])
            for page in pages
            for each in page["Vpcs"]
            for block in each["CidrBlockAssociationSet"]
            if block["CidrBlockState"]["State"] in {"associating", "associated"}
        )

    async def tables_of(self, vpc: str) -> tuple[RouteTable, ...]:
        return _tables(
            await self._pages("describe_route_tables", vpc, Filters=[{"Name": "vpc-id", "Values": [vpc]}])
        )

    async def tables(self, refs: Sequence[str]) -> tuple[RouteTable, ...]:
        return _tables(await self._pages("describe_route_tables", ",".join(refs), RouteTableIds=list(refs)))

    async def create_route(self, table: str, prefix: IPv4Network, interface: str) -> None:
        await self._route("create_route", table, prefix, NetworkInterfaceId=interface)

    async def delete_route(self, table: str, prefix: IPv4Network) -> None:
        await self._route("delete_route", table, prefix)

    async def _route(self, method: str, table: str, prefix: IPv4Network, **more: str) -> None:
        await self._call(
            method, f"{table} {prefix}", RouteTableId=table, DestinationCidrBlock=str(prefix), **more
        )

    async def aclose(self) -> None:
        await asyncio.to_thread(self._ec2.close)

    async def _pages(self, method: str, resource: str, **arguments: object) -> list[Mapping[str, Any]]:
        return await self._guard(
            method, resource, lambda: list(self._ec2.get_paginator(method).paginate(**arguments))
        )

    async def _call(self, method: str, resource: str, **arguments: object) -> None:
        await self._guard(method, resource, lambda: getattr(self._ec2, method)(**arguments))

    async def _guard(self, method: str, resource: str, work: Callable[[], T]) -> T:
        """Run a blocking call in a thread, under the deadline, with its errors translated."""
        from botocore import exceptions  # noqa: PLC0415 - loaded already by `connect`

        operation = self._ec2.meta.method_to_api_mapping[method]
        try:
            async with asyncio.timeout(_DEADLINE):
                return await asyncio.to_thread(work)
        except exceptions.ClientError as exc:
            error, answer = exc.response.get("Error", {}), exc.response.get("ResponseMetadata", {})
            raise service_error(
                operation=operation,
                resource=resource,
                status=answer.get("HTTPStatusCode", 0),
                code=error.get("Code", ""),
                message=error.get("Message", ""),
                request_id=answer.get("RequestId", ""),
                retry_after=answer.get("HTTPHeaders", {}).get("retry-after", ""),
            ) from exc
        except (exceptions.NoCredentialsError, exceptions.CredentialRetrievalError) as exc:
            raise no_credentials(operation=operation, resource=resource, reason=str(exc)) from exc
        except exceptions.ParamValidationError as exc:
            raise PermanentError(f"aws {operation} {resource}: {exc}; check the options") from exc
        except (exceptions.BotoCoreError, OSError) as exc:
            raise unreachable(operation=operation, resource=resource, reason=str(exc)) from exc
        except TimeoutError as exc:
            reason = f"{_DEADLINE:.0f} s passed"
            raise unreachable(operation=operation, resource=resource, reason=reason) from exc


def _tables(pages: Sequence[Mapping[str, Any]]) -> tuple[RouteTable, ...]:
    return tuple(
        RouteTable(
            ref=each["RouteTableId"],
            main=any(link.get("Main") for link in each.get("Associations", [])),
            subnets=tuple(link["SubnetId"] for link in each.get("Associations", []) if "SubnetId" in link),
            routes=tuple(
                Route(
                    prefix=IPv4Network(route["DestinationCidrBlock"]),
                    target=next((route[key] for key in _TARGETS if route.get(key)), "an unknown target"),
                    blackhole=route.get("State") == "blackhole",
                )
                for route in each["Routes"]
                # IPv6 routes and prefix lists are others' business.
                if "DestinationCidrBlock" in route
            ),
        )
        for page in pages
        for each in page["RouteTables"]
    )
