"""The plugin cloud_azure on the unmodified SDK, over HTTPS, against the emulated cloud."""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import attrs
import pytest
from aiohttp import web

from routerd.errors import NotOwnedError, PermanentError, ProviderError, TransientError
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute, FabricRouteKey, Forwarding, RouteTableRef
from routerd.spi import Fabric, PluginContext, Provider
from routerd.testing.context import make_context
from routerd.testing.contracts import FabricContract, Foreign, Samples
from routerd_cloud_azure import client
from routerd_cloud_azure.config import AzureOptions
from routerd_cloud_azure.fabric import AzureFabric
from routerd_cloud_azure.plugin import routerd_fabrics
from routerd_lab.certificates import Authority
from routerd_lab.clouds.azure import AzureSubscription
from routerd_lab.clouds.metadata_azure import metadata_app
from routerd_lab.clouds.state import Machine

pytestmark = pytest.mark.cloud

WRITE = "Microsoft.Network/routeTables/routes/write"
REMOTE = [IPv4Network(text) for text in ("10.81.10.20/32", "10.83.10.20/32", "10.99.9.10/32")]


@pytest.fixture
async def cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[AzureSubscription]:
    """Run a subscription and the metadata service of `azure-leaf`; their real names lead to them."""
    cloud = AzureSubscription(
        network=IPv4Network("10.82.0.0/16"),
        subnet=IPv4Network("10.82.10.0/24"),
        machines=(
            Machine(name="routerd-fullmesh-rr", address=IPv4Address("10.82.10.5")),
            Machine(name="azure-client", address=IPv4Address("10.82.10.20")),
            Machine(
                name="azure-leaf", address=IPv4Address("10.82.10.10"), public=IPv4Address("203.0.113.131")
            ),
        ),
    )
    authority = Authority()
    authority.write_certificate(tmp_path / "ca.pem")
    authority.write_server(tmp_path / "server.pem", cloud.hostnames, IPv4Address("127.0.0.1"))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "server.pem")
    ports: dict[tuple[str, int], int] = {}
    runners = []
    for app, names, port, context in (
        (cloud.app(), cloud.hostnames, 443, tls),
        (metadata_app(cloud.metadata("azure-leaf")), ("169.254.169.254",), 80, None),
    ):
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        runners.append(runner)
        ports |= {(name, port): runner.addresses[0][1] for name in names}
    resolve = socket.getaddrinfo

    def redirected(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if (host, port) in ports:
            return resolve("127.0.0.1", ports[host, port], *args, **kwargs)
        return resolve(host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", redirected)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    for name in ("IDENTITY_ENDPOINT", "MSI_ENDPOINT", "AZURE_POD_IDENTITY_AUTHORITY_HOST", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr(client, "POLL_SECONDS", 0.01)
    yield cloud
    for runner in runners:
        for connection in runner.server.connections if runner.server else ():
            # A polite end of TLS would wait for a client that may be gone.
            if connection.transport is not None:
                connection.transport.abort()
        await runner.cleanup()
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
async def fabric(cloud: AzureSubscription, tmp_path: Path) -> AsyncIterator[AzureFabric]:
    """A started fabric on the credentials of the instance's role."""
    fabric = AzureFabric(make_context(tmp_path), AzureOptions())
    await fabric.start()
    yield fabric
    await fabric.aclose()


def key(cloud: AzureSubscription, prefix: IPv4Network) -> FabricRouteKey:
    return FabricRouteKey(table=RouteTableRef(cloud.route_table), prefix=prefix)


def route(cloud: AzureSubscription) -> FabricRoute:
    return FabricRoute(next_hop="10.82.10.10")


def create(cloud: AzureSubscription, prefix: IPv4Network) -> Change[FabricRouteKey, FabricRoute]:
    return Change(key=key(cloud, prefix), before=None, after=route(cloud))


def delete(cloud: AzureSubscription, prefix: IPv4Network) -> Change[FabricRouteKey, FabricRoute]:
    return Change(key=key(cloud, prefix), before=route(cloud), after=None)


def place_foreign(cloud: AzureSubscription, prefix: IPv4Network) -> None:
    cloud.add_route("somebodys", prefix, "Internet")


async def test_a_vm_finds_itself_by_its_metadata(fabric: AzureFabric, cloud: AzureSubscription) -> None:
    facts = await fabric.instance()
    assert facts.instance == cloud.instance("azure-leaf")
    assert [nic.ref for nic in facts.nics] == [cloud.interface("azure-leaf")]
    assert facts.next_hop == "10.82.10.10"
    assert facts.route_tables == (cloud.route_table,)


async def test_a_list_of_many_pages_is_read_to_its_end(fabric: AzureFabric, cloud: AzureSubscription) -> None:
    await fabric.instance()
    # Three interfaces, two to a page; ours is made last.
    assert cloud.failures.calls.count("Microsoft.Network/networkInterfaces/read") == 2


async def test_no_tables_means_that_no_route_is_written(cloud: AzureSubscription, tmp_path: Path) -> None:
    fabric = AzureFabric(make_context(tmp_path), AzureOptions(route_tables=()))
    await fabric.start()
    assert (await fabric.instance()).route_tables == ()
    assert await fabric.routes.observe() == {}
    assert "Microsoft.Network/routeTables/read" not in cloud.failures.calls
    await fabric.aclose()


async def test_a_subnet_without_a_table_is_named(fabric: AzureFabric, cloud: AzureSubscription) -> None:
    del cloud.resource(cloud.subnet)["properties"]["routeTable"]
    with pytest.raises(PermanentError, match="has no route table"):
        await fabric.instance()


async def test_forwarding_is_switched_once_and_nothing_else_changes(
    fabric: AzureFabric, cloud: AzureSubscription
) -> None:
    ref = cloud.interface("azure-leaf")
    cloud.resource(ref)["properties"]["fieldOfTheFuture"] = {"nested": [1, None]}
    before = copy.deepcopy(cloud.resource(ref))
    (nic,) = await fabric.forwarding.observe()
    change = Change(key=nic, before=Forwarding(enabled=False), after=Forwarding(enabled=True))
    assert await fabric.forwarding.apply([change]) == {}
    assert cloud.forwarding("azure-leaf")
    assert not cloud.forwarding("azure-client")
    before["properties"]["enableIPForwarding"] = True
    assert cloud.resource(ref) | {"etag": ""} == before | {"etag": ""}
    assert await fabric.forwarding.apply([change]) == {}
    assert cloud.failures.calls.count("Microsoft.Network/networkInterfaces/write") == 1


async def test_an_interface_that_changed_meanwhile_is_read_again(
    fabric: AzureFabric, cloud: AzureSubscription
) -> None:
    (nic,) = await fabric.forwarding.observe()
    stale = await fabric.api.interface(nic)
    cloud.resource(nic)["etag"] = 'W/"other"'
    with pytest.raises(TransientError, match="changed meanwhile"):
        await fabric.api.set_forwarding(stale, enabled=True)
    cloud.failures.fail_next(
        "Microsoft.Network/networkInterfaces/write", status=412, code="PreconditionFailed", times=2
    )
    change = Change(key=nic, before=Forwarding(enabled=False), after=Forwarding(enabled=True))
    assert await fabric.forwarding.apply([change]) == {}
    assert cloud.forwarding("azure-leaf")


async def test_a_second_apply_writes_nothing(fabric: AzureFabric, cloud: AzureSubscription) -> None:
    changes = [create(cloud, prefix) for prefix in REMOTE]
    assert await fabric.routes.apply(changes) == {}
    assert cloud.routes()[REMOTE[0]] == IPv4Address("10.82.10.10")
    assert await fabric.routes.apply(changes) == {}
    assert cloud.failures.calls.count(WRITE) == len(REMOTE)
    assert cloud.resource(f"{cloud.route_table}/routes/routerd-10-81-10-20-32")


async def test_a_foreign_route_is_named_and_left_alone(fabric: AzureFabric, cloud: AzureSubscription) -> None:
    place_foreign(cloud, REMOTE[2])
    failures = await fabric.routes.apply([create(cloud, prefix) for prefix in REMOTE])
    assert set(failures) == {key(cloud, REMOTE[2])}
    error = failures[key(cloud, REMOTE[2])]
    assert isinstance(error, NotOwnedError)
    assert "somebodys" in str(error)
    assert cloud.route_table in str(error)
    failures = await fabric.routes.apply([delete(cloud, prefix) for prefix in REMOTE])
    assert set(failures) == {key(cloud, REMOTE[2])}
    assert set(cloud.routes()) == {IPv4Network("0.0.0.0/0"), REMOTE[2]}


async def test_a_foreign_route_under_our_name_is_left_alone(
    fabric: AzureFabric, cloud: AzureSubscription
) -> None:
    cloud.add_route("routerd-10-81-10-20-32", IPv4Network("10.90.0.0/16"), "Internet")
    failures = await fabric.routes.apply([create(cloud, REMOTE[0])])
    assert isinstance(failures[key(cloud, REMOTE[0])], NotOwnedError)
    assert set(cloud.routes()) == {IPv4Network("0.0.0.0/0"), IPv4Network("10.90.0.0/16")}


async def test_a_route_made_by_somebody_else_in_between_is_recognised(
    fabric: AzureFabric, cloud: AzureSubscription
) -> None:
    reach = cloud.failures.reach

    def racing(operation: str) -> Any:
        if operation == WRITE:
            place_foreign(cloud, REMOTE[0])
        return reach(operation)

    cloud.failures.reach = racing  # type: ignore[method-assign] - the other writer comes between read and write
    failures = await fabric.routes.apply([create(cloud, REMOTE[0])])
    assert isinstance(failures[key(cloud, REMOTE[0])], NotOwnedError)
    assert cloud.routes()[REMOTE[0]] is None


async def test_a_route_that_changed_before_its_deletion_stays(
    fabric: AzureFabric, cloud: AzureSubscription
) -> None:
    await fabric.routes.apply([create(cloud, REMOTE[0])])
    (route,) = await fabric.api.routes(cloud.route_table)
    cloud.add_route(route.name, route.prefix, "Internet")
    with pytest.raises(TransientError, match="changed meanwhile"):
        await fabric.api.delete_route(cloud.route_table, route.name, route.etag)
    assert cloud.routes()[REMOTE[0]] is None


@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        (403, "AuthorizationFailed", PermanentError, f"permission {WRITE} is missing"),
        (401, "ExpiredAuthenticationToken", TransientError, "credentials are not accepted"),
        (429, "TooManyRequests", TransientError, "throttled"),
        (409, "AnotherOperationInProgress", TransientError, "being changed"),
        (400, "RouteLimitReached", PermanentError, "400 routes"),
        (400, "InvalidRequestFormat", PermanentError, "refused"),
        (500, "InternalServerError", TransientError, "service failed"),
        (503, "ServiceUnavailable", TransientError, "service failed"),
    ],
)
async def test_each_refusal_of_the_api_has_its_meaning(
    fabric: AzureFabric,
    cloud: AzureSubscription,
    status: int,
    code: str,
    kind: type[ProviderError],
    words: str,
) -> None:
    cloud.failures.fail_next(WRITE, status=status, code=code, retry_after=7)
    failures = await fabric.routes.apply([create(cloud, REMOTE[0]), create(cloud, REMOTE[1])])
    assert set(failures) == {key(cloud, REMOTE[0])}
    error = failures[key(cloud, REMOTE[0])]
    assert isinstance(error, kind)
    assert words in str(error)
    assert f"{cloud.route_table} {REMOTE[0]}" in str(error)
    if status == 429:
        assert error.retry_after == dt.timedelta(seconds=7)
    assert cloud.failures.calls.count(WRITE) == 2, "the SDK must not retry by itself"
    assert await fabric.routes.apply([create(cloud, REMOTE[0])]) == {}


@pytest.mark.parametrize("nth", range(1, 12))
async def test_when_the_nth_call_fails_the_next_pass_heals(
    cloud: AzureSubscription, tmp_path: Path, nth: int
) -> None:
    fabric = AzureFabric(make_context(tmp_path), AzureOptions())
    await fabric.start()
    before = cloud.routes()
    cloud.failures.fail_call(nth, status=500, code="InternalServerError")

    async def converge() -> bool:
        try:
            await fabric.instance()
            observed = await fabric.forwarding.observe()
            on = Forwarding(enabled=True)
            switches = [Change(key=nic, before=now, after=on) for nic, now in observed.items() if now != on]
            failed = bool(await fabric.forwarding.apply(switches))
            present = await fabric.routes.observe()
            missing = [create(cloud, prefix) for prefix in REMOTE if key(cloud, prefix) not in present]
            return not (await fabric.routes.apply(missing)) and not failed
        except TransientError:
            return False

    outcomes = [await converge() for _ in range(2)]
    assert outcomes == [False, True]
    assert cloud.forwarding("azure-leaf")
    assert cloud.routes() == before | dict.fromkeys(REMOTE, IPv4Address("10.82.10.10"))
    await fabric.aclose()


async def test_a_vm_without_an_identity_is_transient(cloud: AzureSubscription, tmp_path: Path) -> None:
    fabric = AzureFabric(
        make_context(tmp_path), AzureOptions(client_id="00000000-0000-0000-0000-000000000001")
    )
    await fabric.start()
    with pytest.raises(TransientError, match="assign a managed identity"):
        await fabric.instance()
    await fabric.aclose()


async def test_a_dry_run_changes_nothing(cloud: AzureSubscription, tmp_path: Path) -> None:
    fabric = AzureFabric(make_context(tmp_path, read_only=True), AzureOptions())
    await fabric.start()
    assert await fabric.routes.observe() == {}
    failures = await fabric.routes.apply([create(cloud, REMOTE[0])])
    assert set(failures) == {key(cloud, REMOTE[0])}
    assert REMOTE[0] not in cloud.routes()
    await fabric.aclose()


def test_an_option_of_the_wrong_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="routeTables"):
        AzureOptions(
            route_tables=("/subscriptions/1/resourceGroups/a/providers/Microsoft.Network/subnets/b",)
        )


class TestContract(FabricContract):
    """The suite that every fabric passes."""

    @pytest.fixture
    def provider(self, cloud: AzureSubscription) -> Provider[Fabric]:
        return routerd_fabrics()[0]

    @pytest.fixture
    def options(self) -> AzureOptions:
        return AzureOptions()

    @pytest.fixture
    def context(self, tmp_path: Path) -> PluginContext:
        return make_context(tmp_path, plugin="cloud_azure")

    @pytest.fixture
    def samples(self, cloud: AzureSubscription) -> Mapping[str, Samples[Any, Any]]:
        nic = cloud.interface("azure-leaf")

        async def place() -> None:
            place_foreign(cloud, REMOTE[2])

        async def read() -> object:
            return [key for key, target in cloud.routes().items() if target is None and key == REMOTE[2]]

        return {
            "forwarding": Samples(
                values={nic: Forwarding(enabled=True)},
                replacement={nic: Forwarding(enabled=False)},
                refused={cloud.interface("azure-client"): Forwarding(enabled=True)},
            ),
            "routes": Samples(
                values={key(cloud, prefix): route(cloud) for prefix in REMOTE[:2]},
                refused={attrs.evolve(key(cloud, REMOTE[0]), table=RouteTableRef("/other")): route(cloud)},
                foreign=Foreign(key=key(cloud, REMOTE[2]), value=route(cloud), place=place, read=read),
            ),
        }
