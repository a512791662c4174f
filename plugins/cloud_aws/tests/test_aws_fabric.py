"""The plugin cloud_aws on the unmodified SDK, over HTTPS, against the emulated region."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from routerd.errors import NotOwnedError, PermanentError, ProviderError, TransientError, UnsupportedError
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute, FabricRouteKey, Forwarding, RouteTableRef
from routerd.spi import Fabric, PluginContext, Provider
from routerd.testing.context import make_context
from routerd.testing.contracts import FabricContract, Foreign, Samples
from routerd_cloud_aws.config import AwsOptions
from routerd_cloud_aws.fabric import AwsFabric
from routerd_cloud_aws.plugin import routerd_fabrics
from routerd_lab.certificates import Authority
from routerd_lab.clouds.aws import AwsRegion
from routerd_lab.clouds.metadata_aws import metadata_app
from routerd_lab.clouds.state import Machine

pytestmark = pytest.mark.cloud

REMOTE = [IPv4Network(text) for text in ("10.82.10.20/32", "10.83.10.20/32", "10.99.9.10/32")]


@pytest.fixture
async def region(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[AwsRegion]:
    """Run a region and the metadata service of `aws-leaf`; their real names lead to them."""
    region = AwsRegion(
        network=IPv4Network("10.81.0.0/16"),
        subnet=IPv4Network("10.81.10.0/24"),
        machines=(
            Machine(name="aws-leaf", address=IPv4Address("10.81.10.10"), public=IPv4Address("198.51.100.59")),
            Machine(name="aws-client", address=IPv4Address("10.81.10.20")),
        ),
    )
    authority = Authority()
    authority.write_certificate(tmp_path / "ca.pem")
    authority.write_server(tmp_path / "server.pem", region.hostnames, IPv4Address("127.0.0.1"))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "server.pem")
    ports: dict[tuple[str, int], int] = {}
    runners = []
    for app, names, port, context in (
        (region.app(), region.hostnames, 443, tls),
        (metadata_app(region.metadata("aws-leaf")), ("169.254.169.254",), 80, None),
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
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    yield region
    for runner in runners:
        for connection in runner.server.connections if runner.server else ():
            # A polite end of TLS would wait for a client that may be gone.
            if connection.transport is not None:
                connection.transport.abort()
        await runner.cleanup()
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
async def fabric(region: AwsRegion, tmp_path: Path) -> AsyncIterator[AwsFabric]:
    """A started fabric on the credentials of the instance's role."""
    fabric = AwsFabric(make_context(tmp_path), AwsOptions())
    await fabric.start()
    yield fabric
    await fabric.aclose()


def key(region: AwsRegion, prefix: IPv4Network) -> FabricRouteKey:
    return FabricRouteKey(table=RouteTableRef(region.route_table), prefix=prefix)


def route(region: AwsRegion) -> FabricRoute:
    return FabricRoute(next_hop=region.interface("aws-leaf"))


def create(region: AwsRegion, prefix: IPv4Network) -> Change[FabricRouteKey, FabricRoute]:
    return Change(key=key(region, prefix), before=None, after=route(region))


def delete(region: AwsRegion, prefix: IPv4Network) -> Change[FabricRouteKey, FabricRoute]:
    return Change(key=key(region, prefix), before=route(region), after=None)


def place_foreign(region: AwsRegion, prefix: IPv4Network) -> None:
    region._ec2.create_route(region.route_table, str(prefix), gateway_id=region.internet_gateway)


async def test_an_instance_finds_itself_by_its_metadata(fabric: AwsFabric, region: AwsRegion) -> None:
    facts = await fabric.instance()
    assert facts.instance == region.instance("aws-leaf")
    assert [nic.address for nic in facts.nics] == [IPv4Address("10.81.10.10")]
    assert facts.next_hop == region.interface("aws-leaf")
    assert facts.route_tables == (region.route_table,)
    assert facts.networks == (IPv4Network("10.81.0.0/16"),)


async def test_a_subnets_own_table_goes_before_the_main_one(fabric: AwsFabric, region: AwsRegion) -> None:
    own = region._ec2.create_route_table(region.vpc)
    region._ec2.associate_route_table(own.id, subnet_id=region.subnet)
    assert (await fabric.instance()).route_tables == (own.id,)


async def test_no_tables_means_that_no_route_is_written(region: AwsRegion, tmp_path: Path) -> None:
    fabric = AwsFabric(make_context(tmp_path), AwsOptions(route_tables=()))
    await fabric.start()
    assert (await fabric.instance()).route_tables == ()
    assert await fabric.routes.observe() == {}
    assert "DescribeRouteTables" not in region.failures.calls
    await fabric.aclose()


async def test_forwarding_is_switched_once_and_then_left(fabric: AwsFabric, region: AwsRegion) -> None:
    (nic,) = await fabric.forwarding.observe()
    change = Change(key=nic, before=Forwarding(enabled=False), after=Forwarding(enabled=True))
    assert await fabric.forwarding.apply([change]) == {}
    assert region.forwarding("aws-leaf")
    assert not region.forwarding("aws-client")
    assert await fabric.forwarding.observe() == {nic: Forwarding(enabled=True)}
    assert await fabric.forwarding.apply([change]) == {}
    assert region.failures.calls.count("ModifyNetworkInterfaceAttribute") == 1


async def test_a_second_apply_writes_nothing(fabric: AwsFabric, region: AwsRegion) -> None:
    changes = [create(region, prefix) for prefix in REMOTE]
    assert await fabric.routes.apply(changes) == {}
    assert region.routes()[REMOTE[0]] == IPv4Address("10.81.10.10")
    assert await fabric.routes.apply(changes) == {}
    assert region.failures.calls.count("CreateRoute") == len(REMOTE)


async def test_a_foreign_route_is_named_and_left_alone(fabric: AwsFabric, region: AwsRegion) -> None:
    place_foreign(region, REMOTE[2])
    failures = await fabric.routes.apply([create(region, prefix) for prefix in REMOTE])
    assert set(failures) == {key(region, REMOTE[2])}
    error = failures[key(region, REMOTE[2])]
    assert isinstance(error, NotOwnedError)
    assert region.internet_gateway in str(error)
    assert region.route_table in str(error)
    failures = await fabric.routes.apply([delete(region, prefix) for prefix in REMOTE])
    assert set(failures) == {key(region, REMOTE[2])}
    assert set(region.routes()) == {IPv4Network("0.0.0.0/0"), REMOTE[2]}


async def test_a_foreign_blackhole_is_called_one(fabric: AwsFabric, region: AwsRegion) -> None:
    ec2 = region._ec2
    gone = ec2.create_network_interface(ec2.get_subnet(region.subnet), "10.81.10.99")
    ec2.create_route(region.route_table, str(REMOTE[0]), interface_id=gone.id)
    ec2.delete_network_interface(gone.id)
    failures = await fabric.routes.apply([create(region, REMOTE[0])])
    assert "(a blackhole)" in str(failures[key(region, REMOTE[0])])


async def test_a_route_made_by_somebody_else_in_between_is_recognised(
    fabric: AwsFabric, region: AwsRegion
) -> None:
    rule = region._rule

    def racing(action: str, form: Mapping[str, str]) -> Any:
        if action == "CreateRoute" and form["DestinationCidrBlock"] == str(REMOTE[0]):
            place_foreign(region, REMOTE[0])
        return rule(action, form)

    region._rule = racing  # type: ignore[method-assign] - the other writer comes between read and write
    failures = await fabric.routes.apply([create(region, REMOTE[0])])
    assert isinstance(failures[key(region, REMOTE[0])], NotOwnedError)
    assert region.routes()[REMOTE[0]] is None


async def test_a_prefix_of_the_vpc_itself_is_unsupported(fabric: AwsFabric, region: AwsRegion) -> None:
    inside = IPv4Network("10.81.77.1/32")
    failures = await fabric.routes.apply([create(region, inside)])
    assert isinstance(failures[key(region, inside)], UnsupportedError)
    assert "10.81.0.0/16" in str(failures[key(region, inside)])
    assert "CreateRoute" not in region.failures.calls


async def test_a_full_table_names_the_quota(fabric: AwsFabric, region: AwsRegion) -> None:
    region.failures.fail_next("CreateRoute", status=400, code="RouteLimitExceeded")
    failures = await fabric.routes.apply([create(region, REMOTE[0])])
    error = failures[key(region, REMOTE[0])]
    assert isinstance(error, PermanentError)
    assert "500 routes" in str(error)


@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        (403, "UnauthorizedOperation", PermanentError, "permission ec2:CreateRoute is missing"),
        (401, "AuthFailure", TransientError, "credentials are not accepted"),
        (503, "RequestLimitExceeded", TransientError, "throttled"),
        (500, "InternalError", TransientError, "service failed"),
        (503, "Unavailable", TransientError, "service failed"),
    ],
)
async def test_each_refusal_of_the_api_has_its_meaning(
    fabric: AwsFabric, region: AwsRegion, status: int, code: str, kind: type[ProviderError], words: str
) -> None:
    region.failures.fail_next("CreateRoute", status=status, code=code, retry_after=7)
    failures = await fabric.routes.apply([create(region, REMOTE[0]), create(region, REMOTE[1])])
    assert set(failures) == {key(region, REMOTE[0])}
    error = failures[key(region, REMOTE[0])]
    assert isinstance(error, kind)
    assert words in str(error)
    assert f"{region.route_table} {REMOTE[0]}" in str(error)
    if "throttled" in words:
        assert error.retry_after == dt.timedelta(seconds=7)
    assert region.failures.calls.count("CreateRoute") == 2, "the SDK must not retry by itself"
    assert await fabric.routes.apply([create(region, REMOTE[0])]) == {}


@pytest.mark.parametrize("nth", range(1, 12))
async def test_when_the_nth_call_fails_the_next_pass_heals(
    region: AwsRegion, tmp_path: Path, nth: int
) -> None:
    fabric = AwsFabric(make_context(tmp_path), AwsOptions())
    await fabric.start()
    before = region.routes()
    region.failures.fail_call(nth, status=500, code="InternalError")

    async def converge() -> bool:
        try:
            await fabric.instance()
            observed = await fabric.forwarding.observe()
            on = Forwarding(enabled=True)
            switches = [Change(key=nic, before=now, after=on) for nic, now in observed.items() if now != on]
            failed = bool(await fabric.forwarding.apply(switches))
            present = await fabric.routes.observe()
            missing = [create(region, prefix) for prefix in REMOTE if key(region, prefix) not in present]
            return not (await fabric.routes.apply(missing)) and not failed
        except TransientError:
            return False

    outcomes = [await converge() for _ in range(2)]
    assert outcomes == [False, True]
    assert region.forwarding("aws-leaf")
    assert region.routes() == before | dict.fromkeys(REMOTE, IPv4Address("10.81.10.10"))
    await fabric.aclose()


async def test_an_endpoint_that_does_not_answer_is_transient(
    fabric: AwsFabric, region: AwsRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fabric.instance()
    monkeypatch.setattr(socket, "getaddrinfo", _nowhere)
    await fabric.aclose()
    other = AwsFabric(
        fabric._ctx, AwsOptions(region="eu-west-1", instance_id="i-1", network_interfaces=("eni-1",))
    )
    await other.start()
    with pytest.raises(TransientError, match=r"aws DescribeNetworkInterfaces eni-1"):
        await other.instance()
    await other.aclose()


def _nowhere(*_: object, **__: object) -> Any:
    raise socket.gaierror(socket.EAI_NONAME, "name unknown")


async def test_an_instance_without_a_role_is_told_so(
    region: AwsRegion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The variable keeps the SDK, and not us, from the metadata service.
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    fabric = AwsFabric(make_context(tmp_path), AwsOptions())
    await fabric.start()
    with pytest.raises(TransientError, match="attach a role"):
        await fabric.instance()
    assert region.failures.calls == []
    await fabric.aclose()


async def test_a_dry_run_changes_nothing(region: AwsRegion, tmp_path: Path) -> None:
    fabric = AwsFabric(make_context(tmp_path, read_only=True), AwsOptions())
    await fabric.start()
    assert await fabric.routes.observe() == {}
    failures = await fabric.routes.apply([create(region, REMOTE[0])])
    assert set(failures) == {key(region, REMOTE[0])}
    assert REMOTE[0] not in region.routes()
    await fabric.aclose()


def test_an_option_of_the_wrong_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="routeTables"):
        AwsOptions(route_tables=("subnet-1",))


class TestContract(FabricContract):
    """The suite that every fabric passes."""

    @pytest.fixture
    def provider(self, region: AwsRegion) -> Provider[Fabric]:
        return routerd_fabrics()[0]

    @pytest.fixture
    def options(self) -> AwsOptions:
        return AwsOptions()

    @pytest.fixture
    def context(self, tmp_path: Path) -> PluginContext:
        return make_context(tmp_path, plugin="cloud_aws")

    @pytest.fixture
    def samples(self, region: AwsRegion) -> Mapping[str, Samples[Any, Any]]:
        nic = region.interface("aws-leaf")

        async def place() -> None:
            place_foreign(region, REMOTE[2])

        async def read() -> object:
            return [key for key, target in region.routes().items() if target is None and key == REMOTE[2]]

        return {
            "forwarding": Samples(
                values={nic: Forwarding(enabled=True)},
                replacement={nic: Forwarding(enabled=False)},
                refused={region.interface("aws-client"): Forwarding(enabled=True)},
            ),
            "routes": Samples(
                values={key(region, prefix): route(region) for prefix in REMOTE[:2]},
                refused={key(region, IPv4Network("10.81.77.1/32")): route(region)},
                foreign=Foreign(key=key(region, REMOTE[2]), value=route(region), place=place, read=read),
            ),
        }
