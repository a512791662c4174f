"""A fabric finds itself in its VPC, switches its interface, and says what to do when it is not let in."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
from tests.support.aws_world import CLIENT, LEAF, AwsWorld

from routerd.errors import PermanentError, TransientError
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute, Forwarding
from routerd.spi import Clock, Fabric, PluginContext, Provider
from routerd.testing.context import make_context
from routerd.testing.contracts import (
    DiagnosisRules,
    Foreign,
    Quota,
    QuotaRules,
    Samples,
    SharedFabricContract,
    SiteWorld,
)
from routerd_cloud_aws.config import AwsOptions
from routerd_cloud_aws.plugin import AwsFabric, routerd_fabrics

pytestmark = pytest.mark.cloud

REMOTE = [IPv4Network(text) for text in ("10.82.10.20/32", "10.83.10.20/32", "10.99.9.10/32")]
INSIDE = IPv4Network("10.81.77.1/32")


async def test_an_instance_finds_itself_by_its_metadata(fabric: AwsFabric, aws: AwsWorld) -> None:
    facts = await fabric.instance()
    assert facts.instance == aws.region.instance(LEAF)
    assert [nic.address for nic in facts.nics] == [IPv4Address("10.81.10.10")]
    assert facts.next_hop == aws.us
    assert facts.route_tables == (aws.main,)
    assert facts.networks == (IPv4Network("10.81.0.0/16"),)


async def test_a_subnets_own_table_goes_before_the_main_one(fabric: AwsFabric, aws: AwsWorld) -> None:
    own = aws.add_table(subnet=True)
    assert (await fabric.instance()).route_tables == (own,)


async def test_what_the_options_say_is_not_looked_up(make_fabric: Any, aws: AwsWorld) -> None:
    options = AwsOptions(
        region=aws.region.region,
        instance_id="i-named",
        network_interfaces=(aws.us,),
        route_tables=("rtb-named",),
    )
    facts = await (await make_fabric(options)).instance()
    assert (facts.instance, facts.route_tables) == ("i-named", ("rtb-named",))
    assert "DescribeRouteTables" not in aws.troubles.calls


async def test_no_tables_means_that_no_route_is_written(make_fabric: Any, aws: AwsWorld) -> None:
    fabric = await make_fabric(AwsOptions(route_tables=()))
    assert (await fabric.instance()).route_tables == ()
    assert await fabric.routes.observe() == {}
    assert await fabric.routes.apply([]) == {}
    assert "DescribeRouteTables" not in aws.troubles.calls


async def test_forwarding_is_switched_once_and_then_left(fabric: AwsFabric, aws: AwsWorld) -> None:
    (nic,) = await fabric.forwarding.observe()
    change = Change(key=nic, before=Forwarding(enabled=False), after=Forwarding(enabled=True))
    assert await fabric.forwarding.apply([change]) == {}
    assert aws.region.forwarding(LEAF)
    assert not aws.region.forwarding(CLIENT)
    assert await fabric.forwarding.observe() == {nic: Forwarding(enabled=True)}
    assert await fabric.forwarding.apply([change]) == {}
    assert aws.troubles.count("ModifyNetworkInterfaceAttribute") == 1


async def test_an_endpoint_that_does_not_answer_is_transient(
    make_fabric: Any, aws: AwsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", _nowhere)
    options = AwsOptions(region="eu-west-1", instance_id="i-1", network_interfaces=("eni-1",))
    fabric = await make_fabric(options)
    with pytest.raises(TransientError, match=r"aws DescribeNetworkInterfaces eni-1"):
        await fabric.instance()


def _nowhere(*_: object, **__: object) -> Any:
    raise socket.gaierror(socket.EAI_NONAME, "name unknown")


async def test_an_instance_without_a_role_is_told_so(
    make_fabric: Any, aws: AwsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The variable keeps the SDK, and not us, from the metadata service.
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    fabric = await make_fabric()
    with pytest.raises(TransientError, match="attach a role"):
        await fabric.instance()
    assert aws.troubles.calls == []


async def test_a_missing_permission_is_named_without_the_page_of_letters(
    fabric: AwsFabric, aws: AwsWorld
) -> None:
    aws.region.api.denied.add("ec2:DescribeVpcs")
    with pytest.raises(PermanentError, match="permission ec2:DescribeVpcs is missing") as caught:
        await fabric.instance()
    assert "Encoded" not in str(caught.value)
    assert len(str(caught.value)) < 500


async def test_a_dry_run_changes_nothing(make_fabric: Any, aws: AwsWorld) -> None:
    fabric = await make_fabric(read_only=True)
    assert await fabric.routes.observe() == {}
    failures = await fabric.routes.apply([aws.create(REMOTE[0])])
    assert set(failures) == {aws.key(REMOTE[0])}
    assert aws.leads_to(REMOTE[0]) is None


class TestContract(SharedFabricContract, QuotaRules, DiagnosisRules):
    """The suites of a fabric that shares its site, foresees and diagnoses."""

    @pytest.fixture
    def provider(self, aws: AwsWorld) -> Provider[Fabric]:
        return routerd_fabrics()[0]

    @pytest.fixture
    def options(self) -> AwsOptions:
        return AwsOptions()

    @pytest.fixture
    def context(self, tmp_path: Path, clock: Clock) -> PluginContext:
        return make_context(tmp_path, plugin="cloud_aws", clock=clock)

    @pytest.fixture
    def site(self, aws: AwsWorld) -> SiteWorld:
        async def place(key: Any, next_hop: str | None) -> None:
            if aws.leads_to(key.prefix, key.table) is not None:
                aws.remove(key.prefix, key.table)
            if next_hop is not None:
                aws.place(key.prefix, next_hop, key.table)

        async def read(key: Any) -> str | None:
            return aws.leads_to(key.prefix, key.table)

        stranger = aws.region.internet_gateway
        return SiteWorld(
            others=(aws.other, aws.region.interface(CLIENT)), stranger=stranger, place=place, read=read
        )

    @pytest.fixture
    def quota(self, aws: AwsWorld) -> Quota:
        aws.region.api.account_routes = 12

        async def leave(room: int) -> None:
            # One is the default route.
            for host in range(12 - room - 1):
                aws.place(IPv4Network((0x0A590000 + host, 32)))

        return Quota(limit=12, leave=leave)

    @pytest.fixture
    def samples(self, aws: AwsWorld) -> Mapping[str, Samples[Any, Any]]:
        async def place() -> None:
            aws.place(REMOTE[2])

        async def read() -> object:
            return aws.leads_to(REMOTE[2])

        route = FabricRoute(next_hop=aws.us)
        return {
            "forwarding": Samples(
                values={aws.us: Forwarding(enabled=True)},
                replacement={aws.us: Forwarding(enabled=False)},
                refused={aws.region.interface(CLIENT): Forwarding(enabled=True)},
            ),
            "routes": Samples(
                values={aws.key(prefix): route for prefix in REMOTE[:2]},
                refused={aws.key(INSIDE): route},
                foreign=Foreign(key=aws.key(REMOTE[2]), value=route, place=place, read=read),
            ),
        }
