"""The only module that imports the OCI SDK. Its calls block, so each runs in a thread.

Retries and circuit breakers of the SDK are off: the reconcile loop decides when to retry, and a breaker
is global to the process and would hide the next answer.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Literal, TypeVar

from routerd.errors import PermanentError, ProviderError, StaleError, TransientError
from routerd.spi import Pacer, Pacing
from routerd_cloud_oci.config import OciOptions
from routerd_cloud_oci.faults import ThrottledError, service_error, unreachable
from routerd_cloud_oci.inventory import RouteTable, Rule, Subnet, Vnic
from routerd_cloud_oci.limits import BURST, CALLS_A_SECOND

T = TypeVar("T")
Trial = Literal["accepted", "unmatched"]
"""The outcome of a write that should fail: OCI carried it out, or its ETag did not match (412)."""

_TIMEOUT = (5, 20)
"""Seconds to connect, and seconds to wait for an answer."""

_DEADLINE = 30.0
_PAGE = 100

_NO_ETAG = "routerd-doctor"
"""An ETag that no resource has, so that a write under it cannot succeed."""


async def connect(options: OciOptions, region: str, pacing: Pacing) -> "Client":
    """Import the SDK, get credentials, and return the API of `region`; raises `ProviderError`.

    Each call takes a token from the bucket of its tenancy and region.
    """
    async with _deadline("Connect", region):
        return await asyncio.to_thread(_connect, options, region, pacing)


def _connect(options: OciOptions, region: str, pacing: Pacing) -> "Client":
    import oci  # noqa: PLC0415 - takes half a second, which only a host on OCI should pay
    import oci.auth.signers  # noqa: PLC0415 - as above
    import oci.core  # noqa: PLC0415 - as above
    from oci._vendor.requests.exceptions import RequestException  # noqa: PLC0415 - as above

    once = oci.retry.NoneRetryStrategy()
    unbroken = oci.circuit_breaker.NoCircuitBreakerStrategy()
    try:
        if options.auth == "instance_principal":
            signer = oci.auth.signers.InstancePrincipalsSecurityTokenSigner(
                retry_strategy=once,
                federation_client_retry_strategy=once,
                federation_client_circuit_breaker_strategy=unbroken,
            )
            config = {"region": region or signer.region}
            tenancy = signer.tenancy_id
        else:
            config = oci.config.from_file(str(options.config_file.expanduser()), options.profile)
            config["region"] = region or config.get("region", "")
            oci.config.validate_config(config)
            signer = oci.signer.Signer.from_config(config)
            tenancy = config["tenancy"]
        settings = {
            "signer": signer,
            "timeout": _TIMEOUT,
            "retry_strategy": once,
            "circuit_breaker_strategy": unbroken,
        }
        network = oci.core.VirtualNetworkClient(config, **settings)
        compute = oci.core.ComputeClient(config, **settings)
    except oci.exceptions.ServiceError as exc:
        raise _translate(exc, "Authenticate", region) from exc
    except RequestException as exc:
        raise unreachable(operation="Authenticate", resource=region, reason=_brief(exc)) from exc
    except (oci.exceptions.ClientError, OSError, ValueError) as exc:
        raise PermanentError(
            f"oci credentials: {options.auth} cannot be used; {_brief(exc)}; check the options auth, "
            "configFile and profile"
        ) from exc
    except RuntimeError as exc:
        # The federation client raises it for a certificate or a token that it cannot parse.
        raise TransientError(f"oci credentials: {options.auth} failed; {_brief(exc)}") from exc
    sessions = [network.base_client.session, compute.base_client.session, *_sessions_of(signer)]
    pacer = pacing(f"{tenancy}/{config['region']}", rate=CALLS_A_SECOND, burst=BURST)
    return Client(network, compute, sessions, oci.exceptions.ServiceError, RequestException, pacer)


def _sessions_of(signer: Any) -> list[Any]:  # noqa: ANN401 - Any: the SDK has no types
    """Return the HTTP sessions inside an instance principal's signer; nothing else closes them."""
    holders = [
        getattr(signer, name, None)
        for name in ("federation_client", "leaf_certificate_retriever", "intermediate_certificate_retriever")
    ]
    return [holder.requests_session for holder in holders if holder is not None]


class Client:
    """The operations that the fabric needs; every method raises `ProviderError`.

    One thread at a time uses the sessions below the SDK's clients.
    """

    def __init__(
        self,
        network: Any,  # noqa: ANN401 - Any: the SDK has no types
        compute: Any,  # noqa: ANN401 - Any: the SDK has no types
        sessions: Sequence[Any],  # Any: the SDK has no types
        refusal: type[Exception],
        silence: type[Exception],
        pacer: Pacer,
    ) -> None:
        self._network = network
        self._compute = compute
        self._sessions = sessions
        self._refusal = refusal
        self._silence = silence
        self._pacer = pacer
        self._lock = asyncio.Lock()

    async def vnic(self, ref: str) -> Vnic:
        """GetVnic."""
        answer = await self._call("GetVnic", ref, lambda: self._network.get_vnic(ref))
        found = answer.data
        return Vnic(
            ref=ref,
            address=IPv4Address(found.private_ip),
            subnet=found.subnet_id,
            compartment=found.compartment_id,
            primary=bool(found.is_primary),
            forwarding=bool(found.skip_source_dest_check),
            etag=answer.headers.get("etag", ""),
        )

    async def set_forwarding(self, ref: str, enabled: bool, etag: str) -> None:
        """UpdateVnic of the one field; raises `StaleError` when the VNIC changed since the ETag."""
        # A mapping instead of UpdateVnicDetails, so that OCI keeps every field that it does not name.
        body = {"skipSourceDestCheck": enabled}
        condition = {"if_match": etag} if etag else {}
        await self._call("UpdateVnic", ref, lambda: self._network.update_vnic(ref, body, **condition))

    async def primary_private_ip(self, vnic: str) -> str:
        """ListPrivateIps; return the OCID of the VNIC's primary private IP."""

        def pages() -> list[Any]:  # Any: the SDK has no types
            return self._pages(lambda page: self._network.list_private_ips(vnic_id=vnic, limit=_PAGE, **page))

        for found in await self._call("ListPrivateIps", vnic, pages):
            if found.is_primary:
                return str(found.id)
        raise PermanentError(f"oci ListPrivateIps {vnic}: the VNIC has no primary private IP")

    async def instance_of(self, vnic: str, compartment: str) -> str:
        """ListVnicAttachments; return the OCID of the instance that has the VNIC."""

        def pages() -> list[Any]:  # Any: the SDK has no types
            return self._pages(
                lambda page: self._compute.list_vnic_attachments(
                    compartment, vnic_id=vnic, limit=_PAGE, **page
                )
            )

        for found in await self._call("ListVnicAttachments", vnic, pages):
            if found.lifecycle_state == "ATTACHED":
                return str(found.instance_id)
        raise PermanentError(f"oci ListVnicAttachments {vnic}: no instance has this VNIC attached")

    async def private_ip(self, ref: str) -> IPv4Address:
        """GetPrivateIp; raises `DeniedError` when the private IP is gone or hidden from us."""
        found = (await self._call("GetPrivateIp", ref, lambda: self._network.get_private_ip(ref))).data
        return IPv4Address(found.ip_address)

    async def subnet(self, ref: str) -> Subnet:
        """GetSubnet."""
        found = (await self._call("GetSubnet", ref, lambda: self._network.get_subnet(ref))).data
        return Subnet(ref=ref, vcn=found.vcn_id, route_table=found.route_table_id)

    async def vcn_networks(self, ref: str) -> tuple[IPv4Network, ...]:
        """GetVcn; return its IPv4 prefixes."""
        found = (await self._call("GetVcn", ref, lambda: self._network.get_vcn(ref))).data
        return tuple(IPv4Network(text) for text in found.cidr_blocks or [found.cidr_block])

    async def route_table(self, ref: str) -> RouteTable:
        """GetRouteTable."""
        # Not get_route_table: its models drop every field that this version of the SDK does not know,
        # and OCI deletes a field that the next write leaves out.
        answer = await self._call(
            "GetRouteTable",
            ref,
            lambda: self._network.base_client.call_api(
                resource_path="/routeTables/{rtId}",
                method="GET",
                path_params={"rtId": ref},
                header_params={"accept": "application/json", "content-type": "application/json"},
                response_type="object",
                operation_name="get_route_table",
            ),
        )
        return RouteTable(
            ref=ref,
            vcn=answer.data["vcnId"],
            rules=tuple(answer.data["routeRules"]),
            etag=answer.headers.get("etag", ""),
        )

    async def replace_rules(self, ref: str, rules: Sequence[Rule], etag: str) -> None:
        """UpdateRouteTable; raises `StaleError` when the table changed since the ETag."""
        body = {"routeRules": [dict(rule) for rule in rules]}
        await self._call(
            "UpdateRouteTable", ref, lambda: self._network.update_route_table(ref, body, if_match=etag)
        )

    async def try_vnic(self, ref: str) -> Trial:
        """Try UpdateVnic of nothing; raises `DeniedError` without the permission."""
        # The body is empty: should OCI ignore the condition for once, nothing changes.
        return await self._try(
            "UpdateVnic", ref, lambda: self._network.update_vnic(ref, {}, if_match=_NO_ETAG)
        )

    async def try_route_table(self, ref: str) -> Trial:
        """Try UpdateRouteTable of nothing in the same way."""
        return await self._try(
            "UpdateRouteTable", ref, lambda: self._network.update_route_table(ref, {}, if_match=_NO_ETAG)
        )

    async def _try(self, operation: str, ref: str, call: Callable[[], object]) -> Trial:
        try:
            await self._call(operation, ref, call)
        except StaleError:
            return "unmatched"
        return "accepted"

    async def aclose(self) -> None:
        """Close the connections."""
        for session in self._sessions:
            await asyncio.to_thread(session.close)

    @staticmethod
    def _pages(fetch: Callable[[dict[str, str]], Any]) -> list[Any]:  # Any: the SDK has no types
        """Return the items of every page (`opc-next-page`)."""
        items: list[Any] = []  # Any: the SDK has no types
        page: dict[str, str] = {}
        while True:
            answer = fetch(page)
            items += answer.data
            if not answer.has_next_page:
                return items
            page = {"page": answer.next_page}

    async def _call(self, operation: str, ref: str, call: Callable[[], T]) -> T:
        await self._pacer.take()
        async with _deadline(operation, ref), self._lock:
            try:
                return await asyncio.to_thread(call)
            except self._refusal as exc:
                error = _translate(exc, operation, ref)
                if isinstance(error, ThrottledError) and error.retry_after is not None:
                    self._pacer.hold(error.retry_after.total_seconds())
                raise error from exc
            except self._silence as exc:
                raise unreachable(operation=operation, resource=ref, reason=_brief(exc)) from exc


@asynccontextmanager
async def _deadline(operation: str, resource: str) -> AsyncIterator[None]:
    """Turn a time-out into a `TransientError` that names the operation."""
    try:
        async with asyncio.timeout(_DEADLINE):
            yield
    except TimeoutError as exc:
        raise unreachable(
            operation=operation, resource=resource, reason=f"nothing within {_DEADLINE:.0f} s"
        ) from exc


def _translate(exc: Any, operation: str, resource: str) -> ProviderError:  # noqa: ANN401 - Any: the SDK has no types
    """Return our error for the SDK's `ServiceError`."""
    headers = exc.headers or {}
    return service_error(
        operation=operation,
        resource=resource,
        status=int(exc.status),
        code=str(exc.code or ""),
        message=str(exc.message or ""),
        request_id=str(exc.request_id or ""),
        retry_after=str(headers.get("retry-after", "")),
    )


def _brief(exc: Exception) -> str:
    """Return the innermost reason of an error on one line; the SDK wraps three or four deep."""
    inner: object = exc
    while isinstance(inner, BaseException) and inner.args and isinstance(inner.args[0], BaseException):
        inner = inner.args[0]
    reason = getattr(inner, "reason", None) or inner
    return f"{type(reason).__name__}: {reason}".splitlines()[0][:200]
