"""The only module that imports the AWS SDK. Its calls block, so each runs in a thread.

Retries of the SDK are off: the reconcile loop decides when to retry. Every call takes a token of the
account's bucket first, and a throttled call closes the bucket for a while.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from routerd.errors import PermanentError, TransientError
from routerd.model.addresses import IPNetwork
from routerd.spi import Pacer
from routerd_cloud_aws import inventory
from routerd_cloud_aws.faults import (
    GrantedError,
    MissingError,
    Refusal,
    ThrottledError,
    no_credentials,
    service_error,
    unreachable,
)
from routerd_cloud_aws.inventory import Answer, Interface, RouteTable
from routerd_cloud_aws.limits import CODE, SERVICE
from routerd_cloud_aws.models import LeanFiles

_METADATA_SECONDS, _METADATA_ATTEMPTS = 5, 3
_CONNECT_SECONDS = 5
_READ_SECONDS = 15
_DEADLINE = 30.0
_PAGE = 100
"""Tables a page; EC2 gives requests that are neither filtered nor paginated a smaller bucket."""

_DRY_RUN_PREFIX = "198.18.0.1/32"
"""A prefix of the benchmarking network (RFC 2544), which no VPC holds."""


async def connect(region: str, pacer: Pacer) -> "Client":
    """Import the SDK and return the API of `region`; raises `ProviderError`."""
    try:
        async with asyncio.timeout(_DEADLINE):
            return await asyncio.to_thread(_connect, region, pacer)
    except TimeoutError as exc:
        raise unreachable(operation="connect", resource=region, reason=f"{_DEADLINE:.0f} s passed") from exc


def _connect(region: str, pacer: Pacer) -> "Client":
    import botocore.session  # noqa: PLC0415 - half a second that only a host on AWS should pay
    from botocore.config import Config  # noqa: PLC0415 - as above
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - as above
    from botocore.loaders import Loader  # noqa: PLC0415 - as above

    settings = Config(
        region_name=region,
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"total_max_attempts": 1, "mode": "standard"},
    )
    # A VPC may reach EC2 and not Service Quotas, which is not worth a long wait.
    brief = settings.merge(Config(connect_timeout=3, read_timeout=5))
    try:
        session = botocore.session.Session()
        # Its own way is one attempt of a second, after which an instance seems to have no role.
        session.set_config_variable("metadata_service_timeout", _METADATA_SECONDS)
        session.set_config_variable("metadata_service_num_attempts", _METADATA_ATTEMPTS)
        places = (session.get_config_variable("data_path") or "").split(os.pathsep)
        session.register_component(
            "data_loader",
            Loader(
                extra_search_paths=[str(Path(place).expanduser()) for place in places if place],
                file_loader=LeanFiles(),  # type: ignore[arg-type]  # botocore calls no more than it has
            ),
        )
        ec2 = session.create_client("ec2", config=settings)
        quotas = session.create_client("service-quotas", config=brief)
    except (BotoCoreError, ValueError) as exc:
        raise PermanentError(f"aws {region}: the SDK made no client, {exc}; check the option region") from exc
    return Client(ec2, quotas, pacer)


class Client:
    """The calls to EC2 and Service Quotas that the fabric makes. Every method raises `ProviderError`."""

    def __init__(self, ec2: Any, quotas: Any, pacer: Pacer) -> None:  # noqa: ANN401 - Any: made at run time
        self._ec2 = ec2
        self._quotas = quotas
        self._pacer = pacer

    async def interfaces(self, refs: Sequence[str]) -> tuple[Interface, ...]:
        """DescribeNetworkInterfaces, in the order of `refs`."""
        answer = await self._call(
            "describe_network_interfaces", ",".join(refs), NetworkInterfaceIds=list(refs)
        )
        found = {each.ref: each for each in inventory.interfaces([answer])}
        missing = [ref for ref in refs if ref not in found]
        if missing:
            raise TransientError(f"aws DescribeNetworkInterfaces {missing[0]}: not in the answer")
        return tuple(found[ref] for ref in refs)

    async def set_forwarding(self, ref: str, enabled: bool) -> None:
        """ModifyNetworkInterfaceAttribute of the one field."""
        await self._call(
            "modify_network_interface_attribute",
            ref,
            NetworkInterfaceId=ref,
            SourceDestCheck={"Value": not enabled},
        )

    async def networks(self, vpc: str) -> tuple[IPv4Network, ...]:
        """DescribeVpcs; return its IPv4 prefixes."""
        return inventory.networks([await self._call("describe_vpcs", vpc, VpcIds=[vpc])])

    async def tables_of(self, vpc: str) -> tuple[RouteTable, ...]:
        """DescribeRouteTables of a VPC."""
        return await self._tables(vpc, "vpc-id", [vpc])

    async def tables(self, refs: Sequence[str]) -> dict[str, RouteTable]:
        """DescribeRouteTables by identifier; leaves out tables that do not exist."""
        # A filter, because one identifier that does not exist would fail the whole request.
        found = await self._tables(",".join(refs), "route-table-id", list(refs))
        return {table.ref: table for table in found}

    async def _tables(self, resource: str, name: str, values: list[str]) -> tuple[RouteTable, ...]:
        asked = {"Filters": [{"Name": name, "Values": values}], "MaxResults": _PAGE}
        answers = [await self._call("describe_route_tables", resource, **asked)]
        while token := answers[-1].get("NextToken"):
            answers.append(await self._call("describe_route_tables", resource, NextToken=token, **asked))
        return inventory.tables(answers)

    async def create_route(self, table: str, prefix: IPNetwork, interface: str) -> None:
        """CreateRoute; `ExistsError` when the prefix is taken."""
        await self._route("create_route", table, str(prefix), NetworkInterfaceId=interface)

    async def replace_route(self, table: str, prefix: IPNetwork, interface: str) -> None:
        """ReplaceRoute, without a condition on what the route leads to now."""
        await self._route("replace_route", table, str(prefix), NetworkInterfaceId=interface)

    async def delete_route(self, table: str, prefix: IPNetwork) -> None:
        """DeleteRoute, without a condition on what it leads to; `MissingError` when there is no route."""
        await self._route("delete_route", table, str(prefix))

    async def _route(self, method: str, table: str, prefix: str, **more: object) -> None:
        await self._call(method, f"{table} {prefix}", RouteTableId=table, DestinationCidrBlock=prefix, **more)

    async def rehearse(self, action: str, *, interface: str = "", table: str = "") -> None:
        """Try an action as a dry run; `DeniedError` when its permission is missing."""
        if action.startswith("Get"):
            with contextlib.suppress(MissingError):
                await self._quota(action)
            return
        method = _method(self._ec2, action)
        try:
            if action.startswith("Describe"):
                await self._call(method, "(dry run)", DryRun=True)
            elif action == "ModifyNetworkInterfaceAttribute":
                switch = {"NetworkInterfaceId": interface, "SourceDestCheck": {"Value": False}}
                await self._call(method, f"{interface} (dry run)", DryRun=True, **switch)
            else:
                target = {} if action == "DeleteRoute" else {"NetworkInterfaceId": interface}
                await self._route(method, table, _DRY_RUN_PREFIX, DryRun=True, **target)
        except GrantedError:
            return
        raise TransientError(f"aws {action}: EC2 answered a dry run as if it had made the change")

    async def route_quota(self) -> int:
        """GetServiceQuota, or the default of AWS where the account has no value of its own."""
        try:
            return await self._quota("GetServiceQuota")
        except MissingError:
            # The account has no value of its own, because the quota was never changed.
            return await self._quota("GetAWSDefaultServiceQuota")

    async def _quota(self, action: str) -> int:
        asked = {"ServiceCode": SERVICE, "QuotaCode": CODE}
        answer = await self._call(_method(self._quotas, action), CODE, self._quotas, **asked)
        return int(answer["Quota"]["Value"])

    async def aclose(self) -> None:
        """Close the connections."""
        await asyncio.to_thread(self._ec2.close)
        await asyncio.to_thread(self._quotas.close)

    async def _call(self, method: str, resource: str, client: Any = None, **arguments: object) -> Answer:  # noqa: ANN401 - Any: as above
        """Make a call in a thread in its turn, under the deadline, and translate its errors."""
        client = client or self._ec2
        await self._pacer.take()
        try:
            return await _guarded(client, method, resource, lambda: getattr(client, method)(**arguments))
        except ThrottledError as error:
            if error.retry_after is not None:
                self._pacer.hold(error.retry_after.total_seconds())
            raise


def _method(client: Any, action: str) -> str:  # noqa: ANN401 - Any: as above
    names: Mapping[str, str] = client.meta.method_to_api_mapping
    return next(name for name, each in names.items() if each == action)


async def _guarded(client: Any, method: str, resource: str, work: Callable[[], Answer]) -> Answer:  # noqa: ANN401 - Any: as above
    from botocore import exceptions  # noqa: PLC0415 - loaded already by `connect`

    operation = client.meta.method_to_api_mapping[method]
    try:
        async with asyncio.timeout(_DEADLINE):
            return await asyncio.to_thread(work)
    except exceptions.ClientError as exc:
        error: Answer = exc.response.get("Error", {})
        answer: Answer = exc.response.get("ResponseMetadata", {})
        raise service_error(
            Refusal(
                operation=operation,
                resource=resource,
                service=client.meta.service_model.endpoint_prefix,
                status=answer.get("HTTPStatusCode", 0),
                code=error.get("Code", ""),
                message=error.get("Message", ""),
                request_id=answer.get("RequestId", ""),
                retry_after=answer.get("HTTPHeaders", {}).get("retry-after", ""),
            )
        ) from exc
    except (exceptions.NoCredentialsError, exceptions.CredentialRetrievalError) as exc:
        raise no_credentials(operation=operation, resource=resource, reason=str(exc)) from exc
    except exceptions.ParamValidationError as exc:
        raise PermanentError(f"aws {operation} {resource}: {exc}; check the options") from exc
    except (exceptions.BotoCoreError, OSError) as exc:
        raise unreachable(operation=operation, resource=resource, reason=str(exc)) from exc
    except TimeoutError as exc:
        raise unreachable(operation=operation, resource=resource, reason=f"{_DEADLINE:.0f} s passed") from exc
