"""The emulated OCI region is what the official SDK, unmodified, takes for the real one.

Each rule here is one that the plugin cloud_oci depends on, from the API reference of the Core Services
(20160918), "API Errors", "Request Signatures" and the SDK's own sources and documentation.
"""

from __future__ import annotations

import asyncio
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import oci
import oci.auth.signers
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from oci._vendor.requests.exceptions import RequestException
from tests.support.loopback import METADATA, Api, metadata, on_loopback

from routerd_lab.clouds.oci import DROP, Instance, OciRegion, ocid
from routerd_lab.clouds.trouble import Kind, Lag, Trouble

pytestmark = pytest.mark.cloud

Sdk = Any  # Any: the SDK has no types

ONCE = oci.retry.NoneRetryStrategy()
UNBROKEN = oci.circuit_breaker.NoCircuitBreakerStrategy()
HOST = "10.81.10.20/32"


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[OciRegion]:
    region = OciRegion(
        network=IPv4Network("10.83.0.0/16"),
        subnet=IPv4Network("10.83.10.0/24"),
        instances=(
            Instance(name="oci-leaf", address=IPv4Address("10.83.10.10")),
            Instance(name="oci-client", address=IPv4Address("10.83.10.20")),
        ),
    )
    service = metadata(region.metadata("oci-leaf"))
    async with on_loopback(tmp_path, Api(app=region.app(), names=region.hostnames), service):
        yield region


def principal() -> Sdk:
    """Return the signer of an instance: it asks the metadata service and the auth service."""
    return oci.auth.signers.InstancePrincipalsSecurityTokenSigner(
        retry_strategy=ONCE,
        federation_client_retry_strategy=ONCE,
        federation_client_circuit_breaker_strategy=UNBROKEN,
    )


class Sessions:
    """The clients that a test made, to close what the SDK leaves open."""

    def __init__(self, region: OciRegion) -> None:
        self._region = region
        self._open: list[Sdk] = []

    def client(
        self, kind: Sdk, *, signer: Sdk = None, retry: Sdk = ONCE, config: dict[str, str] | None = None
    ) -> Sdk:
        made = signer or principal()
        self._open += [
            getattr(made, name).requests_session
            for name in (
                "federation_client",
                "leaf_certificate_retriever",
                "intermediate_certificate_retriever",
            )
            if hasattr(made, name)
        ]
        client = kind(
            {"region": self._region.region, **(config or {})},
            signer=made,
            retry_strategy=retry,
            circuit_breaker_strategy=UNBROKEN,
            timeout=(5, 20),
        )
        self._open.append(client.base_client.session)
        return client

    def close(self) -> None:
        for session in self._open:
            session.close()


@pytest.fixture
def sessions(region: OciRegion) -> Iterator[Sessions]:
    sessions = Sessions(region)
    yield sessions
    sessions.close()


@pytest.fixture
async def network(sessions: Sessions) -> Sdk:
    return await asyncio.to_thread(sessions.client, oci.core.VirtualNetworkClient)


async def call(work: Callable[..., Sdk], *arguments: object, **options: object) -> Sdk:
    """Make a call of the SDK, which blocks."""
    return await asyncio.to_thread(work, *arguments, **options)


async def refused(work: Callable[..., Sdk], *arguments: object, **options: object) -> tuple[int, str, str]:
    """Make a call that the API refuses; return its status, code and message."""
    with pytest.raises(oci.exceptions.ServiceError) as caught:
        await call(work, *arguments, **options)
    assert caught.value.request_id, "every answer has an opc-request-id"
    return caught.value.status, caught.value.code, caught.value.message


def rule(to: str, target: str) -> Sdk:
    return oci.core.models.RouteRule(
        destination=to, destination_type="CIDR_BLOCK", network_entity_id=target, description="test"
    )


def asked(*rules: Sdk) -> Sdk:
    return oci.core.models.UpdateRouteTableDetails(route_rules=list(rules))


def address(region: OciRegion, name: str = "oci-leaf") -> str:
    return ocid("privateip", name, region.region)


# --- who may call -------------------------------------------------------------------------------------


async def test_an_instance_finds_itself(region: OciRegion, network: Sdk) -> None:
    vnic = (await call(network.get_vnic, ocid("vnic", "oci-leaf", region.region))).data
    assert (vnic.private_ip, vnic.is_primary, vnic.skip_source_dest_check) == ("10.83.10.10", True, False)
    subnet = (await call(network.get_subnet, vnic.subnet_id)).data
    assert subnet.route_table_id == region.inventory.route_table
    vcn = (await call(network.get_vcn, subnet.vcn_id)).data
    assert vcn.cidr_blocks == ["10.83.0.0/16"]
    addresses = (await call(network.list_private_ips, vnic_id=vnic.id)).data
    assert [(each.ip_address, each.is_primary) for each in addresses] == [("10.83.10.10", True)]


async def test_the_instance_of_a_vnic_is_looked_up(region: OciRegion, sessions: Sessions) -> None:
    compute = await asyncio.to_thread(sessions.client, oci.core.ComputeClient)
    vnic = ocid("vnic", "oci-leaf", region.region)
    found = (await call(compute.list_vnic_attachments, region.inventory.compartment, vnic_id=vnic)).data
    assert [each.instance_id for each in found] == [ocid("instance", "oci-leaf", region.region)]
    assert [each.lifecycle_state for each in found] == ["ATTACHED"]


async def test_a_user_signs_with_an_api_key(region: OciRegion, sessions: Sessions, tmp_path: Path) -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "api.pem").write_bytes(pem + b"OCI_API_KEY\n")
    user, fingerprint = ocid("user", "lab"), ":".join(["20"] * 16)
    config = {"region": region.region, "tenancy": region.tenancy, "user": user, "fingerprint": fingerprint}
    config["key_file"] = str(tmp_path / "api.pem")
    signer = oci.signer.Signer.from_config(config)
    client = sessions.client(oci.core.VirtualNetworkClient, signer=signer, config=config)
    status, code, _ = await refused(client.get_vcn, region.inventory.vcn)
    assert (status, code) == (401, "NotAuthenticated")
    region.gatekeeper.keys[f"{region.tenancy}/{user}/{fingerprint}"] = private.public_key()
    assert (await call(client.get_vcn, region.inventory.vcn)).status == 200


async def test_an_old_signature_is_refused(region: OciRegion, network: Sdk) -> None:
    """The date may be five minutes off ("Request Signatures")."""
    region.gatekeeper.clock = lambda: time.time() + 240
    assert (await call(network.get_vcn, region.inventory.vcn)).status == 200
    region.gatekeeper.clock = lambda: time.time() + 360
    status, code, _ = await refused(network.get_vcn, region.inventory.vcn)
    assert (status, code) == (401, "NotAuthenticated")


async def test_what_is_not_there_and_what_is_not_permitted_look_the_same(
    region: OciRegion, network: Sdk
) -> None:
    absent = await refused(network.get_vcn, ocid("vcn", "absent"))
    assert absent[:2] == (404, "NotAuthorizedOrNotFound")
    region.network_api.granted = frozenset({"SUBNET_READ"})
    assert await refused(network.get_vcn, region.inventory.vcn) == absent
    assert (await call(network.get_subnet, region.inventory.subnet)).status == 200


@pytest.mark.parametrize("missing", ["ROUTE_TABLE_UPDATE", "PRIVATE_IP_ROUTE_TABLE_ATTACH"])
async def test_a_rule_to_a_private_ip_needs_both_permissions(
    region: OciRegion, network: Sdk, missing: str
) -> None:
    """Rules of others that stay as they are need none of their own ("Details for the Core Services")."""
    needed = {"ROUTE_TABLE_UPDATE", "PRIVATE_IP_ROUTE_TABLE_ATTACH"}
    default = rule("0.0.0.0/0", region.inventory.internet_gateway)
    change = asked(default, rule(HOST, address(region)))
    region.network_api.granted = frozenset(needed - {missing})
    assert (await refused(network.update_route_table, region.inventory.route_table, change))[0] == 404
    region.network_api.granted = frozenset(needed)
    assert (await call(network.update_route_table, region.inventory.route_table, change)).status == 200
    # To take it away is a permission of its own.
    assert (await refused(network.update_route_table, region.inventory.route_table, asked(default)))[0] == 404


# --- the switch ---------------------------------------------------------------------------------------


async def test_the_switch_of_a_vnic_is_set_under_its_etag(region: OciRegion, network: Sdk) -> None:
    ref = ocid("vnic", "oci-leaf", region.region)
    etag = (await call(network.get_vnic, ref)).headers["etag"]
    on = oci.core.models.UpdateVnicDetails(skip_source_dest_check=True)
    answer = await call(network.update_vnic, ref, on, if_match=etag)
    assert answer.data.skip_source_dest_check is True
    assert answer.data.display_name == "oci-leaf", "what is not asked for stays"
    assert region.forwarding("oci-leaf")
    status, code, _ = await refused(network.update_vnic, ref, on, if_match=etag)
    assert (status, code) == (412, "NoEtagMatch")
    assert (await call(network.update_vnic, ref, on)).status == 200, "the condition is optional"


# --- the route table ----------------------------------------------------------------------------------


async def test_the_rules_are_replaced_as_a_whole_under_the_etag(region: OciRegion, network: Sdk) -> None:
    table = region.inventory.route_table
    read = await call(network.get_route_table, table)
    rules = [*read.data.route_rules, rule(HOST, address(region))]
    written = await call(network.update_route_table, table, asked(*rules), if_match=read.headers["etag"])
    assert [each.destination for each in written.data.route_rules] == ["0.0.0.0/0", HOST]
    assert written.data.route_rules[1].route_type == "STATIC"
    assert written.headers["etag"] != read.headers["etag"]
    assert region.routes()[IPv4Network(HOST)] == IPv4Address("10.83.10.10")
    status, code, _ = await refused(network.update_route_table, table, asked(), if_match=read.headers["etag"])
    assert (status, code) == (412, "NoEtagMatch")
    again = await call(network.get_route_table, table)
    assert again.headers["etag"] == written.headers["etag"]
    await call(network.update_route_table, table, asked())
    assert (await call(network.get_route_table, table)).data.route_rules == []


async def test_a_table_without_rules_in_the_request_keeps_them(region: OciRegion, network: Sdk) -> None:
    named = oci.core.models.UpdateRouteTableDetails(display_name="other")
    answer = await call(network.update_route_table, region.inventory.route_table, named)
    assert answer.data.display_name == "other"
    assert [each.destination for each in answer.data.route_rules] == ["0.0.0.0/0"]


@pytest.mark.parametrize(
    ("to", "target", "refusal"),
    [
        (HOST, "vnic", (400, "InvalidParameter")),
        (HOST, "gone", (404, "NotAuthorizedOrNotFound")),
        ("10.81.10.20/33", "privateip", (400, "InvalidParameter")),
        ("10.83.10.30/32", "privateip", (400, "InvalidParameter")),
        ("0.0.0.0/0", "privateip", (400, "InvalidParameter")),
    ],
)
async def test_one_wrong_rule_spoils_the_request(
    region: OciRegion, network: Sdk, to: str, target: str, refusal: tuple[int, str]
) -> None:
    """A VNIC's OCID instead of its private IP's, a bad prefix, one inside the VCN, one that is there."""
    targets = {"gone": "ocid1.privateip.oc1..gone"}
    entity = targets.get(target) or ocid(target, "oci-leaf", region.region)
    table = region.inventory.route_table
    present = (await call(network.get_route_table, table)).data.route_rules
    good = rule("10.82.10.20/32", address(region))
    answer = await refused(network.update_route_table, table, asked(*present, good, rule(to, entity)))
    assert answer[:2] == refusal
    assert [each.destination for each in (await call(network.get_route_table, table)).data.route_rules] == [
        "0.0.0.0/0"
    ]


async def test_a_table_holds_200_rules(region: OciRegion, network: Sdk) -> None:
    many = [rule(f"10.64.0.{number}/32", address(region)) for number in range(201)]
    table = region.inventory.route_table
    answer = await refused(network.update_route_table, table, asked(*many))
    assert answer[:2] == (400, "LimitExceeded")
    assert "200" in answer[2]
    written = await call(network.update_route_table, table, asked(*many[:200]))
    assert len(written.data.route_rules) == 200


async def test_a_rule_whose_private_ip_is_gone_drops_and_stays(region: OciRegion, network: Sdk) -> None:
    """`DeletePrivateIp` in the API reference: the rule becomes a blackhole."""
    table = region.inventory.route_table
    await call(network.update_route_table, table, asked(rule(HOST, address(region, "oci-client"))))
    region.inventory.terminate("oci-client")
    assert region.routes()[IPv4Network(HOST)] == DROP
    present = (await call(network.get_route_table, table)).data.route_rules
    assert [each.network_entity_id for each in present] == [address(region, "oci-client")]
    assert (await refused(network.get_private_ip, address(region, "oci-client")))[0] == 404
    good = rule("10.82.10.20/32", address(region))
    assert (await call(network.update_route_table, table, asked(*present, good))).status == 200


# --- lists, requests, errors --------------------------------------------------------------------------


async def test_lists_come_in_pages(region: OciRegion, network: Sdk) -> None:
    listed = await call(network.list_private_ips, subnet_id=region.inventory.subnet, limit=1)
    assert (len(listed.data), listed.has_next_page) == (1, True)
    everything = await call(
        oci.pagination.list_call_get_all_results,
        network.list_private_ips,
        subnet_id=region.inventory.subnet,
        limit=1,
    )
    assert {each.ip_address for each in everything.data} == {"10.83.10.10", "10.83.10.20"}
    assert (await refused(network.list_private_ips))[:2] == (400, "InvalidParameter")


async def test_a_request_is_known_by_the_id_that_the_caller_gave(region: OciRegion, network: Sdk) -> None:
    answer = await call(
        network.base_client.call_api,
        resource_path="/vcns/{vcnId}",
        method="GET",
        path_params={"vcnId": region.inventory.vcn},
        header_params={"accept": "application/json", "opc-request-id": "MINE"},
        response_type="Vcn",
    )
    assert answer.request_id.startswith("MINE/")


# --- trouble ------------------------------------------------------------------------------------------


async def test_throttling_is_a_429_that_the_sdk_retries(region: OciRegion, sessions: Sessions) -> None:
    patient = oci.retry.RetryStrategyBuilder(
        max_attempts=3,
        service_error_check=True,
        service_error_retry_on_any_5xx=False,
        service_error_retry_config={429: []},
        retry_base_sleep_time_seconds=0,
        retry_max_wait_between_calls_seconds=0,
    ).get_retry_strategy()
    client = await asyncio.to_thread(sessions.client, oci.core.VirtualNetworkClient, retry=patient)
    region.troubles.add(Trouble(kind=Kind.THROTTLE, operation="GetVcn", times=2))
    assert (await call(client.get_vcn, region.inventory.vcn)).status == 200
    assert region.troubles.count("GetVcn", 429) == 2
    region.troubles.fail_next("GetVcn", status=429, code="TooManyRequests", times=3, retry_after=7)
    with pytest.raises(oci.exceptions.ServiceError) as caught:
        await call(client.get_vcn, region.inventory.vcn)
    assert (caught.value.status, caught.value.code) == (429, "TooManyRequests")
    assert caught.value.headers["retry-after"] == "7"


@pytest.mark.parametrize("kind", [Kind.FAIL, Kind.FAIL_AFTER, Kind.CLOSE, Kind.LOSE])
async def test_a_write_fails_before_or_after_the_work(region: OciRegion, network: Sdk, kind: Kind) -> None:
    table = region.inventory.route_table
    region.troubles.add(Trouble(kind=kind, operation="UpdateRouteTable"))
    if kind in (Kind.FAIL, Kind.FAIL_AFTER):
        answer = await refused(network.update_route_table, table, asked())
        assert answer[:2] == (500, "InternalServerError")
    else:
        with pytest.raises(RequestException):
            await call(network.update_route_table, table, asked())
    left = (await call(network.get_route_table, table)).data.route_rules
    assert (left == []) is (kind in (Kind.FAIL_AFTER, Kind.LOSE))


async def test_an_old_answer_has_the_old_etag(region: OciRegion, network: Sdk) -> None:
    table = region.inventory.route_table
    region.troubles.lag(Lag(reads=1))
    before = await call(network.get_route_table, table)
    await call(network.update_route_table, table, asked(), if_match=before.headers["etag"])
    stale = await call(network.get_route_table, table)
    assert stale.headers["etag"] == before.headers["etag"]
    assert len(stale.data.route_rules) == 1
    assert (await refused(network.update_route_table, table, asked(), if_match=stale.headers["etag"]))[
        0
    ] == 412
    assert (await call(network.get_route_table, table)).data.route_rules == []


# --- metadata -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/opc/v2/instance/", {}),
        ("/opc/v2/instance/", {"Authorization": "Bearer Oracle", "X-Forwarded-For": "192.0.2.1"}),
        ("/opc/v1/instance/", {"Authorization": "Bearer Oracle"}),
    ],
)
async def test_metadata_is_given_to_version_two_with_its_header_only(
    region: OciRegion, path: str, headers: dict[str, str]
) -> None:
    def fetch() -> None:
        request = urllib.request.Request(f"http://{METADATA}{path}", headers=headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with pytest.raises(urllib.error.HTTPError) as caught:
            opener.open(request, timeout=10)
        with caught.value as error:
            assert error.code == 404

    await asyncio.to_thread(fetch)


async def test_the_signer_learns_its_region_and_tenancy_from_metadata(region: OciRegion) -> None:
    signer = await asyncio.to_thread(principal)
    assert signer.region == region.region
    assert signer.tenancy_id == region.tenancy
    for name in ("federation_client", "leaf_certificate_retriever", "intermediate_certificate_retriever"):
        getattr(signer, name).requests_session.close()
