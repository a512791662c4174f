"""The plugin cloud_oci on the unmodified SDK, over HTTPS, against the emulated region."""

from __future__ import annotations

import datetime as dt
import socket
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import attrs
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from routerd.errors import NotOwnedError, PermanentError, SupersededError, TransientError, UnsupportedError
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute, FabricRouteKey, Forwarding, NicRef, RouteTableRef
from routerd.spi import PluginContext
from routerd.testing.context import as_read_only
from routerd_cloud_oci import metadata
from routerd_cloud_oci.config import OciOptions
from routerd_cloud_oci.metadata import Identity
from routerd_cloud_oci.plugin import OciFabric
from routerd_lab.clouds.oci import OciRegion, ocid

pytestmark = pytest.mark.cloud

REMOTE = [IPv4Network(text) for text in ("10.81.10.20/32", "10.82.10.20/32", "10.99.9.10/32")]


def key(region: OciRegion, prefix: IPv4Network) -> FabricRouteKey:
    return FabricRouteKey(table=RouteTableRef(region.inventory.route_table), prefix=prefix)


def create(region: OciRegion, prefix: IPv4Network) -> Change[FabricRouteKey, FabricRoute]:
    hop = ocid("privateip", "oci-leaf", region.region)
    return Change(key=key(region, prefix), before=None, after=FabricRoute(next_hop=hop))


def delete(region: OciRegion, prefix: IPv4Network) -> Change[FabricRouteKey, FabricRoute]:
    hop = ocid("privateip", "oci-leaf", region.region)
    return Change(key=key(region, prefix), before=FabricRoute(next_hop=hop), after=None)


def rules(region: OciRegion) -> list[dict[str, Any]]:
    return region.inventory.route_tables[region.inventory.route_table].body["routeRules"]


async def test_an_instance_finds_itself_by_instance_principal(fabric: OciFabric, region: OciRegion) -> None:
    facts = await fabric.instance()
    assert facts.instance == ocid("instance", "oci-leaf", region.region)
    assert [nic.address for nic in facts.nics] == [IPv4Address("10.83.10.10")]
    assert facts.next_hop == ocid("privateip", "oci-leaf", region.region)
    assert facts.route_tables == (region.inventory.route_table,)
    assert facts.networks == (IPv4Network("10.83.0.0/16"),)


async def test_forwarding_is_switched_once_and_then_left(fabric: OciFabric, region: OciRegion) -> None:
    (nic,) = await fabric.forwarding.observe()
    change = Change(key=nic, before=Forwarding(enabled=False), after=Forwarding(enabled=True))
    assert await fabric.forwarding.apply([change]) == {}
    assert region.forwarding("oci-leaf")
    assert not region.forwarding("oci-client")
    assert await fabric.forwarding.observe() == {nic: Forwarding(enabled=True)}
    assert await fabric.forwarding.apply([change]) == {}
    assert region.troubles.count("UpdateVnic", 200) == 1


async def test_routes_are_written_in_one_request_and_read_back(fabric: OciFabric, region: OciRegion) -> None:
    assert await fabric.routes.observe() == {}
    assert await fabric.routes.apply([create(region, prefix) for prefix in REMOTE]) == {}
    assert set(await fabric.routes.observe()) == {key(region, prefix) for prefix in REMOTE}
    assert region.routes()[REMOTE[0]] == IPv4Address("10.83.10.10")
    assert region.troubles.count("UpdateRouteTable", 200) == 1


async def test_a_second_apply_writes_nothing(fabric: OciFabric, region: OciRegion) -> None:
    changes = [create(region, prefix) for prefix in REMOTE]
    await fabric.routes.apply(changes)
    etag = region.inventory.route_tables[region.inventory.route_table].etag
    assert await fabric.routes.apply(changes) == {}
    assert region.inventory.route_tables[region.inventory.route_table].etag == etag


async def test_foreign_rules_and_their_unknown_fields_survive(fabric: OciFabric, region: OciRegion) -> None:
    foreign = {
        "destination": "10.99.9.10/32",
        "destinationType": "CIDR_BLOCK",
        "networkEntityId": region.inventory.internet_gateway,
        "description": "mine",
        "fieldOfTheFuture": {"nested": [1, None, "ü"]},
    }
    rules(region).append(foreign)
    before = [dict(rule) for rule in rules(region)]
    failures = await fabric.routes.apply([create(region, prefix) for prefix in REMOTE])
    assert set(failures) == {key(region, REMOTE[2])}
    assert isinstance(failures[key(region, REMOTE[2])], NotOwnedError)
    assert region.inventory.internet_gateway in str(failures[key(region, REMOTE[2])])
    kept = [rule for rule in rules(region) if rule["networkEntityId"] == region.inventory.internet_gateway]
    assert [{name: rule[name] for name in old} for rule, old in zip(kept, before, strict=True)] == before
    assert len(rules(region)) == len(before) + 2
    failures = await fabric.routes.apply([delete(region, prefix) for prefix in REMOTE])
    assert {each: type(error) for each, error in failures.items()} == {
        key(region, REMOTE[2]): SupersededError
    }
    assert [rule["networkEntityId"] for rule in rules(region)] == [region.inventory.internet_gateway] * 2


async def test_another_writer_in_between_loses_nothing(fabric: OciFabric, region: OciRegion) -> None:
    region.troubles.fail_next("UpdateRouteTable", status=412, code="NoEtagMatch", times=2)
    assert await fabric.routes.apply([create(region, REMOTE[0])]) == {}
    assert region.troubles.count("UpdateRouteTable", 412) == 2
    assert REMOTE[0] in region.routes()


async def test_an_old_etag_is_refused_by_the_api(fabric: OciFabric, region: OciRegion) -> None:
    table = await fabric.account.api.route_table(region.inventory.route_table)
    region.inventory.route_tables[region.inventory.route_table].touch()
    with pytest.raises(TransientError, match="changed since it was read"):
        await fabric.account.api.replace_rules(region.inventory.route_table, table.rules, table.etag)


async def test_endless_contention_ends_as_a_transient_error(fabric: OciFabric, region: OciRegion) -> None:
    region.troubles.fail_next("UpdateRouteTable", status=412, code="NoEtagMatch", times=99)
    failures = await fabric.routes.apply([create(region, REMOTE[0])])
    assert isinstance(failures[key(region, REMOTE[0])], TransientError)


async def test_one_bad_route_does_not_keep_the_others_out(fabric: OciFabric, region: OciRegion) -> None:
    await fabric.instance()
    # The VCN of the facts does not hold this network, but the API refuses it.
    bad = IPv4Network("10.83.10.99/32")
    assert fabric.account.known is not None
    fabric.account.known = attrs.evolve(fabric.account.known, networks=())
    changes = [create(region, prefix) for prefix in [REMOTE[0], bad, *REMOTE[1:]]]
    failures = await fabric.routes.apply(changes)
    assert set(failures) == {key(region, bad)}
    assert isinstance(failures[key(region, bad)], PermanentError)
    assert set(REMOTE) <= set(region.routes())


def fill(region: OciRegion, count: int) -> None:
    """Fill the table with foreign rules until it holds `count`."""
    for number in range(count - len(rules(region))):
        place_foreign(region, IPv4Network((int(IPv4Address("172.16.0.0")) + number, 32)))


async def test_a_full_table_takes_what_fits_and_names_the_quota_for_the_rest(
    fabric: OciFabric, region: OciRegion
) -> None:
    fill(region, 197)
    many = [IPv4Network((int(IPv4Address("10.64.0.0")) + number, 32)) for number in range(40)]
    failures = await fabric.routes.apply([create(region, prefix) for prefix in many])
    assert set(failures) == {key(region, prefix) for prefix in many[3:]}
    assert all(isinstance(error, PermanentError) for error in failures.values())
    assert "200 of 200 rules are in use" in str(failures[key(region, many[-1])])
    assert set(many[:3]) <= set(region.routes())
    assert len(rules(region)) == 200
    assert region.troubles.count("UpdateRouteTable") == 1, "what does not fit is not tried"


async def test_a_limit_that_is_lower_than_the_option_says_is_found_by_halves(
    fabric: OciFabric, region: OciRegion
) -> None:
    region.network_api.max_rules = 60
    fill(region, 57)
    many = [IPv4Network((int(IPv4Address("10.64.0.0")) + number, 32)) for number in range(40)]
    failures = await fabric.routes.apply([create(region, prefix) for prefix in many])
    assert set(failures) == {key(region, prefix) for prefix in many[3:]}
    assert "limit reached" in str(failures[key(region, many[-1])])
    assert "60 rules" in str(failures[key(region, many[-1])])
    # Not one request for each of the 40: halves, until one rule alone does not fit.
    assert region.troubles.count("UpdateRouteTable") < 15


async def test_in_a_full_table_what_goes_makes_room_for_what_comes(
    fabric: OciFabric, region: OciRegion
) -> None:
    assert await fabric.routes.apply([create(region, REMOTE[0])]) == {}
    fill(region, 200)
    changes = [create(region, REMOTE[1]), create(region, REMOTE[2]), delete(region, REMOTE[0])]
    assert set(await fabric.routes.apply(changes)) == {key(region, REMOTE[2])}
    assert REMOTE[1] in region.routes()
    assert REMOTE[0] not in region.routes()


async def test_a_table_that_is_not_ours_is_left_alone(fabric: OciFabric, region: OciRegion) -> None:
    stranger = FabricRouteKey(table=RouteTableRef("ocid1.routetable.oc1..other"), prefix=REMOTE[0])
    change = Change(key=stranger, before=None, after=create(region, REMOTE[0]).after)
    failures = await fabric.routes.apply([change, create(region, REMOTE[1])])
    assert set(failures) == {stranger}
    assert isinstance(failures[stranger], NotOwnedError)
    assert "list it in routeTables" in str(failures[stranger])
    assert REMOTE[1] in region.routes()


async def test_no_tables_means_that_no_route_is_written(region: OciRegion, context: PluginContext) -> None:
    fabric = OciFabric(context, OciOptions(route_tables=()))
    await fabric.start()
    assert (await fabric.instance()).route_tables == ()
    assert await fabric.routes.observe() == {}
    assert "GetRouteTable" not in region.troubles.calls
    await fabric.aclose()


async def test_a_route_to_another_private_ip_is_refused(fabric: OciFabric, region: OciRegion) -> None:
    change = attrs.evolve(create(region, REMOTE[0]), after=FabricRoute(next_hop="ocid1.privateip.oc1..other"))
    failures = await fabric.routes.apply([change])
    assert isinstance(failures[key(region, REMOTE[0])], PermanentError)
    assert "UpdateRouteTable" not in region.troubles.calls


async def test_a_vnic_that_changed_meanwhile_is_read_again(fabric: OciFabric, region: OciRegion) -> None:
    region.troubles.fail_next("UpdateVnic", status=412, code="NoEtagMatch", times=2)
    (nic,) = await fabric.forwarding.observe()
    change = Change(key=nic, before=Forwarding(enabled=False), after=Forwarding(enabled=True))
    assert await fabric.forwarding.apply([change]) == {}
    assert region.forwarding("oci-leaf")
    assert region.troubles.count("UpdateVnic", 412) == 2


async def test_a_prefix_of_the_vcn_itself_is_unsupported(fabric: OciFabric, region: OciRegion) -> None:
    inside = IPv4Network("10.83.77.1/32")
    failures = await fabric.routes.apply([create(region, inside)])
    assert isinstance(failures[key(region, inside)], UnsupportedError)
    assert "10.83.0.0/16" in str(failures[key(region, inside)])
    assert "UpdateRouteTable" not in region.troubles.calls


@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        (403, "NotAuthorized", PermanentError, "manage route-tables in compartment"),
        (404, "NotAuthorizedOrNotFound", PermanentError, "manage private-ips in compartment"),
        (401, "NotAuthenticated", PermanentError, "dynamic group"),
        (409, "IncorrectState", TransientError, "being changed"),
        (429, "TooManyRequests", TransientError, "throttled"),
        (500, "InternalServerError", TransientError, "service failed"),
        (503, "ServiceUnavailable", TransientError, "service failed"),
    ],
)
async def test_each_refusal_of_the_api_has_its_meaning(
    fabric: OciFabric, region: OciRegion, status: int, code: str, kind: type[Exception], words: str
) -> None:
    # On 401 the SDK fetches a new token and asks once more by itself.
    times = 2 if status == 401 else 1
    retry_after = 7 if status == 429 else None
    region.troubles.fail_next(
        "UpdateRouteTable", status=status, code=code, times=times, retry_after=retry_after
    )
    failures = await fabric.routes.apply([create(region, REMOTE[0])])
    error = failures[key(region, REMOTE[0])]
    assert isinstance(error, kind)
    assert words in str(error)
    assert "opc-request-id" in str(error)
    if status == 429:
        assert isinstance(error, TransientError)
        assert error.retry_after == dt.timedelta(seconds=7)
    assert await fabric.routes.apply([create(region, REMOTE[0])]) == {}


@pytest.mark.parametrize("nth", range(1, 11))  # as many calls as a pass makes
async def test_when_the_nth_call_fails_nothing_foreign_is_lost_and_the_next_pass_heals(
    region: OciRegion, context: PluginContext, nth: int
) -> None:
    fabric = OciFabric(context, OciOptions())
    await fabric.start()
    foreign = [dict(rule) for rule in rules(region)]
    region.troubles.fail_call(nth, status=500, code="InternalServerError")

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
    assert region.troubles.count("UpdateRouteTable", 200) == 1
    assert region.forwarding("oci-leaf")
    assert set(REMOTE) <= set(region.routes())
    assert rules(region)[: len(foreign)] == foreign
    await fabric.aclose()


async def test_lists_of_many_pages_are_read_to_their_end(fabric: OciFabric, region: OciRegion) -> None:
    vnic = ocid("vnic", "oci-leaf", region.region)
    primary = ocid("privateip", "oci-leaf", region.region)
    template = region.inventory.private_ips[primary]
    others = {
        f"ocid1.privateip.oc1..{number}": attrs.evolve(
            template, body=template.body | {"id": f"ocid1.privateip.oc1..{number}", "isPrimary": False}
        )
        for number in range(250)
    }
    region.inventory.private_ips = {**others, primary: template}
    assert await fabric.account.api.primary_private_ip(vnic) == primary
    assert region.troubles.count("ListPrivateIps", 200) == 3


async def test_a_dry_run_changes_nothing(region: OciRegion, context: PluginContext) -> None:
    fabric = OciFabric(as_read_only(context), OciOptions())
    await fabric.start()
    assert await fabric.routes.observe() == {}
    failures = await fabric.routes.apply([create(region, REMOTE[0])])
    nic = NicRef(ocid("vnic", "oci-leaf", region.region))
    switched = await fabric.forwarding.apply(
        [Change(key=nic, before=Forwarding(enabled=False), after=Forwarding(enabled=True))]
    )
    assert "dry run" in str(failures[key(region, REMOTE[0])])
    assert "dry run" in str(switched[nic])
    assert not {"UpdateRouteTable", "UpdateVnic"} & set(region.troubles.calls)
    await fabric.aclose()


async def test_a_key_from_a_configuration_file_signs_too(
    region: OciRegion, context: PluginContext, tmp_path: Path
) -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = tmp_path / "api.pem"
    pem.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + b"OCI_API_KEY\n"
    )
    pem.chmod(0o600)
    user, fingerprint = ocid("user", "lab"), ":".join(["20"] * 16)
    region.gatekeeper.keys[f"{region.tenancy}/{user}/{fingerprint}"] = private.public_key()
    file = tmp_path / "config"
    file.write_text(
        f"[LAB]\nuser={user}\nfingerprint={fingerprint}\ntenancy={region.tenancy}\n"
        f"region={region.region}\nkey_file={pem}\n"
    )
    file.chmod(0o600)
    vnic = ocid("vnic", "oci-leaf", region.region)
    options = OciOptions(auth="config_file", config_file=file, profile="LAB", vnics=(vnic,))
    fabric = OciFabric(context, options)
    await fabric.start()
    facts = await fabric.instance()
    assert facts.instance == ocid("instance", "oci-leaf", region.region)
    await fabric.aclose()


async def test_a_key_that_the_tenancy_does_not_know_is_not_authenticated(
    region: OciRegion, context: PluginContext, tmp_path: Path
) -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = tmp_path / "api.pem"
    pem.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + b"OCI_API_KEY\n"
    )
    pem.chmod(0o600)
    file = tmp_path / "config"
    file.write_text(
        f"[DEFAULT]\nuser={ocid('user', 'lab')}\nfingerprint={':'.join(['20'] * 16)}\n"
        f"tenancy={region.tenancy}\nregion={region.region}\nkey_file={pem}\n"
    )
    file.chmod(0o600)
    options = OciOptions(
        auth="config_file", config_file=file, vnics=(ocid("vnic", "oci-leaf", region.region),)
    )
    fabric = OciFabric(context, options)
    await fabric.start()
    with pytest.raises(PermanentError, match="dynamic group"):
        await fabric.instance()
    await fabric.aclose()


async def test_a_missing_configuration_file_is_named(
    region: OciRegion, context: PluginContext, tmp_path: Path
) -> None:
    options = OciOptions(
        auth="config_file", config_file=tmp_path / "none", vnics=(ocid("vnic", "oci-leaf", region.region),)
    )
    fabric = OciFabric(context, options)
    with pytest.raises(PermanentError, match="config_file cannot be used"):
        await fabric.start()


async def test_a_metadata_service_that_is_silent_is_transient(
    region: OciRegion, context: PluginContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> object:
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    fabric = OciFabric(context, OciOptions())
    with pytest.raises(TransientError, match=r"169\.254\.169\.254"):
        await fabric.start()


async def test_an_instance_without_a_vnic_is_told_what_to_set(
    region: OciRegion, context: PluginContext
) -> None:
    async def identify() -> Identity:
        return attrs.evolve(await metadata.identify(), vnics=())

    fabric = OciFabric(context, OciOptions(), identify=identify)
    await fabric.start()
    with pytest.raises(PermanentError, match="set vnics"):
        await fabric.instance()
    await fabric.aclose()


def place_foreign(region: OciRegion, prefix: IPv4Network) -> None:
    hop = ocid("internetgateway", "other", region.region)
    rules(region).append(
        {"destination": str(prefix), "destinationType": "CIDR_BLOCK", "networkEntityId": hop}
    )
    region.inventory.route_tables[region.inventory.route_table].touch()
