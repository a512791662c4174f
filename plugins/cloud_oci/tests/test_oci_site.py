"""A route table that others use too: what is foreseen, who leads, how many calls, what a doctor says."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import attrs
import pytest

from routerd.errors import NotOwnedError, PermanentError, SupersededError, TransientError, UnsupportedError
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute, FabricRouteKey, Finding, RouteTableRef
from routerd.spi import PluginContext
from routerd.spi.site_routes import SiteRouters
from routerd.testing.context import CountingPacing
from routerd_cloud_oci import merge as merging
from routerd_cloud_oci.config import OciOptions
from routerd_cloud_oci.inventory import RouteTable, Rule, destination
from routerd_cloud_oci.judge import Site
from routerd_cloud_oci.limits import PERMISSIONS
from routerd_cloud_oci.plugin import OciFabric
from routerd_lab.clouds.oci import DROP, OciRegion, ocid
from routerd_lab.clouds.trouble import Kind, Lag, Trouble

pytestmark = pytest.mark.cloud

HOST = IPv4Network("10.81.10.20/32")
HOSTS = [IPv4Network((int(IPv4Address("10.64.0.0")) + number, 32)) for number in range(50)]
EVERYTHING = frozenset(name for names in PERMISSIONS.values() for name in names)


def key(region: OciRegion, prefix: IPv4Network) -> FabricRouteKey:
    return FabricRouteKey(table=RouteTableRef(region.inventory.route_table), prefix=prefix)


def ip(region: OciRegion, name: str) -> str:
    return ocid("privateip", name, region.region)


def change(
    region: OciRegion, prefix: IPv4Network, before: str | None, after: str | None
) -> Change[FabricRouteKey, FabricRoute]:
    """Return a change from one instance's private IP to another's."""
    hops = (None if name is None else FabricRoute(next_hop=ip(region, name)) for name in (before, after))
    old, new = hops
    return Change(key=key(region, prefix), before=old, after=new)


def rules(region: OciRegion) -> list[dict[str, Any]]:
    return region.inventory.route_tables[region.inventory.route_table].body["routeRules"]


@pytest.fixture
async def shared(fabric: OciFabric, region: OciRegion) -> OciFabric:
    """The fabric of `oci-leaf`, which was told of `oci-leaf-2`."""
    fabric.share(frozenset({ip(region, "oci-leaf-2")}))
    return fabric


# --- what is foreseen ---------------------------------------------------------------------------------


async def test_what_lies_inside_the_vcn_is_foreseen(fabric: OciFabric, region: OciRegion) -> None:
    await fabric.routes.observe()
    inside = change(region, IPv4Network("10.83.77.1/32"), None, "oci-leaf")
    error = fabric.routes.foresee([inside, change(region, HOST, None, "oci-leaf")])
    assert set(error) == {inside.key}
    assert isinstance(error[inside.key], UnsupportedError)
    assert "10.83.0.0/16" in str(error[inside.key])


async def test_before_anything_was_read_nothing_is_foreseen(fabric: OciFabric, region: OciRegion) -> None:
    assert fabric.routes.foresee([change(region, HOST, None, "oci-leaf")]) == {}


async def test_a_table_of_somebody_else_is_foreseen(fabric: OciFabric, region: OciRegion) -> None:
    await fabric.routes.observe()
    stranger = FabricRouteKey(table=RouteTableRef("ocid1.routetable.oc1..other"), prefix=HOST)
    wanted = attrs.evolve(change(region, HOST, None, "oci-leaf"), key=stranger)
    assert isinstance(fabric.routes.foresee([wanted])[stranger], NotOwnedError)


async def test_the_quota_counts_what_is_not_ours(region: OciRegion, context: PluginContext) -> None:
    fabric = OciFabric(context, OciOptions(route_rules_limit=3))
    await fabric.start()
    region.inventory.add_rule("172.16.0.0/12", region.inventory.internet_gateway)
    await fabric.routes.observe()
    wanted = [change(region, prefix, None, "oci-leaf") for prefix in HOSTS[:2]]
    foreseen = fabric.routes.foresee(wanted)
    assert set(foreseen) == {wanted[1].key}
    assert "3 of 3 rules are in use" in str(foreseen[wanted[1].key])
    assert "routeRulesLimit" in str(foreseen[wanted[1].key])
    applied = await fabric.routes.apply(wanted)
    assert str(applied[wanted[1].key]) == str(foreseen[wanted[1].key])
    await fabric.aclose()


async def test_a_rule_that_leads_nowhere_is_called_a_blackhole(fabric: OciFabric, region: OciRegion) -> None:
    region.inventory.add_rule(str(HOST), ip(region, "oci-client"))
    wanted = [change(region, HOST, None, "oci-leaf")]
    await fabric.routes.observe()
    assert "blackhole" not in str(fabric.routes.foresee(wanted)[wanted[0].key])
    region.inventory.terminate("oci-client")
    assert region.routes()[HOST] == DROP
    await fabric.routes.observe()
    error = fabric.routes.foresee(wanted)[wanted[0].key]
    assert isinstance(error, NotOwnedError)
    assert "blackhole" in str(error)
    before = region.troubles.count("GetPrivateIp")
    await fabric.routes.observe()
    assert region.troubles.count("GetPrivateIp") == before, "an OCID never comes back"
    assert str((await fabric.routes.apply(wanted))[wanted[0].key]) == str(error)
    assert region.routes()[HOST] == DROP, "foreign, so left alone"


# --- who leads ----------------------------------------------------------------------------------------


async def test_a_takeover_keeps_the_place_and_the_other_fields_of_the_rule(
    shared: OciFabric, region: OciRegion
) -> None:
    region.inventory.add_rule(str(HOST), ip(region, "oci-leaf-2"), description="routerd", future={"a": [1]})
    region.inventory.add_rule("172.16.0.0/12", region.inventory.internet_gateway)
    before = [dict(rule) for rule in rules(region)]
    assert await shared.routes.apply([change(region, HOST, "oci-leaf-2", "oci-leaf")]) == {}
    assert [rule | {"networkEntityId": ""} for rule in rules(region)] == [
        rule | {"networkEntityId": ""} for rule in before
    ]
    assert region.routes()[HOST] == IPv4Address("10.83.10.10")
    assert await shared.routes.apply([change(region, HOST, "oci-leaf", "oci-leaf-2")]) == {}
    assert rules(region) == before, "undone to the letter"


async def test_a_takeover_of_a_router_whose_instance_is_gone(shared: OciFabric, region: OciRegion) -> None:
    region.inventory.add_rule(str(HOST), ip(region, "oci-leaf-2"))
    region.inventory.terminate("oci-leaf-2")
    assert await shared.routes.apply([change(region, HOST, "oci-leaf-2", "oci-leaf")]) == {}
    assert region.routes()[HOST] == IPv4Address("10.83.10.10")


async def test_a_rule_that_became_foreign_is_not_taken_over(shared: OciFabric, region: OciRegion) -> None:
    region.inventory.add_rule(str(HOST), ip(region, "oci-leaf-2"))
    takeover = change(region, HOST, "oci-leaf-2", "oci-leaf")
    await shared.routes.observe()
    assert shared.routes.foresee([takeover]) == {}
    rules(region)[-1]["networkEntityId"] = region.inventory.internet_gateway
    failures = await shared.routes.apply([takeover])
    assert isinstance(failures[takeover.key], NotOwnedError)
    assert region.routes()[HOST] is None


async def test_a_rule_that_the_other_router_made_in_between_is_read_again(
    shared: OciFabric, region: OciRegion
) -> None:
    region.inventory.add_rule(str(HOST), ip(region, "oci-leaf-2"))
    wanted = change(region, HOST, None, "oci-leaf")
    failures = await shared.routes.apply([wanted])
    assert isinstance(failures[wanted.key], TransientError)
    assert ip(region, "oci-leaf-2") in str(failures[wanted.key])
    assert region.routes()[HOST] == IPv4Address("10.83.10.11")


async def test_an_undo_does_not_take_from_a_third_router(fabric: OciFabric, region: OciRegion) -> None:
    fabric.share(frozenset({ip(region, "oci-leaf-2"), ip(region, "oci-client")}))
    region.inventory.add_rule(str(HOST), ip(region, "oci-client"))
    undo = change(region, HOST, "oci-leaf", "oci-leaf-2")
    assert isinstance((await fabric.routes.apply([undo]))[undo.key], SupersededError)
    assert region.routes()[HOST] == IPv4Address("10.83.10.20")


async def test_two_routers_that_take_over_at_once_do_not_overwrite_each_other(
    shared: OciFabric, region: OciRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one writes between our read and our write: the ETag shows it, and routerd judges again."""
    region.inventory.add_rule(str(HOST), ip(region, "oci-leaf-2"))
    read = shared.account.api.route_table
    answers = []

    async def slowly(ref: str) -> Any:
        answers.append(await read(ref))
        if len(answers) == 1:
            rules(region)[-1]["networkEntityId"] = region.inventory.internet_gateway
            region.inventory.route_tables[ref].touch()
        return answers[-1]

    monkeypatch.setattr(shared.account.api, "route_table", slowly)
    takeover = change(region, HOST, "oci-leaf-2", "oci-leaf")
    assert isinstance((await shared.routes.apply([takeover]))[takeover.key], NotOwnedError)
    assert region.troubles.count("UpdateRouteTable", 412) == 1
    assert region.routes()[HOST] is None


async def test_without_an_etag_nothing_is_written(fabric: OciFabric, region: OciRegion) -> None:
    region.inventory.route_tables[region.inventory.route_table].etag = ""
    wanted = change(region, HOST, None, "oci-leaf")
    assert await fabric.routes.observe() == {}
    error = (await fabric.routes.apply([wanted]))[wanted.key]
    assert isinstance(error, PermanentError)
    assert "no ETag" in str(error)
    assert region.troubles.count("UpdateRouteTable") == 0


# --- how calm -----------------------------------------------------------------------------------------


async def test_fifty_new_routes_are_a_read_and_a_write(fabric: OciFabric, region: OciRegion) -> None:
    await fabric.instance()
    region.troubles.record.clear()
    await fabric.routes.observe()
    await fabric.forwarding.observe()
    assert region.troubles.calls == ["GetRouteTable", "GetVnic"], "a pass without a change"
    region.troubles.record.clear()
    assert await fabric.routes.apply([change(region, each, None, "oci-leaf") for each in HOSTS]) == {}
    assert region.troubles.calls == ["GetRouteTable", "UpdateRouteTable"]
    region.troubles.record.clear()
    assert await fabric.routes.apply([change(region, HOSTS[0], "oci-leaf", None)]) == {}
    assert region.troubles.calls == ["GetRouteTable", "UpdateRouteTable"]


async def test_every_call_takes_a_token_of_its_tenancy_and_region(
    fabric: OciFabric, region: OciRegion, context: PluginContext
) -> None:
    await fabric.instance()
    await fabric.routes.observe()
    await fabric.routes.apply([change(region, HOST, None, "oci-leaf")])
    assert isinstance(context.pacing, CountingPacing)
    (pacer,) = context.pacing.pacers.values()
    assert set(context.pacing.pacers) == {f"{region.tenancy}/{region.region}"}
    assert pacer.taken == sum(call != "X509" for call in region.troubles.calls)
    assert pacer.holds == []


@pytest.mark.parametrize(("retry_after", "held"), [(7, 7.0), (None, 10.0)])
async def test_a_throttled_answer_holds_everybody(
    fabric: OciFabric,
    region: OciRegion,
    context: PluginContext,
    retry_after: int | None,
    held: float,
) -> None:
    region.troubles.fail_next("UpdateRouteTable", status=429, code="TooManyRequests", retry_after=retry_after)
    wanted = change(region, HOST, None, "oci-leaf")
    assert isinstance((await fabric.routes.apply([wanted]))[wanted.key], TransientError)
    assert isinstance(context.pacing, CountingPacing)
    (pacer,) = context.pacing.pacers.values()
    assert pacer.holds == [held]


async def test_what_only_serves_the_words_stops_nothing(fabric: OciFabric, region: OciRegion) -> None:
    region.inventory.add_rule(str(HOST), ip(region, "oci-client"))
    wanted = [change(region, each, None, "oci-leaf") for each in (HOST, HOSTS[0])]
    await fabric.routes.observe()
    assert set(fabric.routes.foresee(wanted)) == {wanted[0].key}
    for status, code in ((500, "InternalServerError"), (400, "InvalidParameter"), (429, "TooManyRequests")):
        region.troubles.fail_next("GetPrivateIp", status=status, code=code)
        assert await fabric.routes.observe() == {}
        assert set(fabric.routes.foresee(wanted)) == {wanted[0].key}


async def test_a_write_whose_answer_is_lost_is_not_repeated(fabric: OciFabric, region: OciRegion) -> None:
    region.troubles.add(Trouble(kind=Kind.LOSE, operation="UpdateRouteTable"))
    wanted = change(region, HOST, None, "oci-leaf")
    assert isinstance((await fabric.routes.apply([wanted]))[wanted.key], TransientError)
    assert set(await fabric.routes.observe()) == {wanted.key}
    assert await fabric.routes.apply([wanted]) == {}
    assert region.troubles.count("UpdateRouteTable") == 1


async def test_a_stale_answer_overwrites_nothing(fabric: OciFabric, region: OciRegion) -> None:
    """The ETag of an old answer does not match, so what was written since is not undone."""
    await fabric.routes.observe()
    region.troubles.lag(Lag(reads=2))
    assert await fabric.routes.apply([change(region, HOSTS[0], None, "oci-leaf")]) == {}
    assert await fabric.routes.apply([change(region, HOSTS[1], None, "oci-leaf")]) == {}
    assert set(HOSTS[:2]) <= set(region.routes())
    assert region.troubles.count("UpdateRouteTable", 412) == 2


def test_many_changes_read_each_rule_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop waits for it: 400 routes in a table of 400 rules must not be 160,000 steps."""
    read: list[Rule] = []

    def counting(rule: Rule) -> IPv4Network | None:
        read.append(rule)
        return destination(rule)

    monkeypatch.setattr(merging, "destination", counting)
    present = tuple(
        {"destination": f"10.1.{n // 250}.{n % 250}/32", "networkEntityId": "x"} for n in range(400)
    )
    table = RouteTable(ref="t", vcn="v", rules=present, etag="e")
    creations: list[Change[FabricRouteKey, FabricRoute]] = [
        Change(
            key=FabricRouteKey(table=RouteTableRef("t"), prefix=IPv4Network(f"10.2.{n // 250}.{n % 250}/32")),
            before=None,
            after=FabricRoute(next_hop="us"),
        )
        for n in range(400)
    ]
    merged = merging.merge(table, creations, Site(routers=SiteRouters(us="us"), limit=800))
    assert (len(merged.rules), merged.failures) == (800, {})
    assert merged.rules[:400] == present
    assert len(read) == 400


# --- what a doctor says -------------------------------------------------------------------------------


def states(findings: Any) -> dict[str, str]:
    return {each.subject: each.state for each in findings}


async def test_with_the_whole_policy_only_what_cannot_be_tried_is_open(
    fabric: OciFabric, region: OciRegion
) -> None:
    region.network_api.granted = EVERYTHING
    before = [dict(rule) for rule in rules(region)]
    found = states(await fabric.diagnose())
    assert {name for name, state in found.items() if state == "unknown"} == {
        "VNIC_UPDATE",
        "ROUTE_TABLE_UPDATE",
        "PRIVATE_IP_ROUTE_TABLE_ATTACH",
        "PRIVATE_IP_ROUTE_TABLE_DETACH",
    }
    assert "missing" not in found.values()
    assert rules(region) == before
    assert not region.forwarding("oci-leaf")


@pytest.mark.parametrize(
    "permission",
    sorted(
        EVERYTHING
        - {"PRIVATE_IP_ROUTE_TABLE_ATTACH", "PRIVATE_IP_ROUTE_TABLE_DETACH"}
        - {"VNIC_ATTACHMENT_READ", "INSTANCE_INSPECT"}
    ),
)
async def test_a_missing_permission_is_named_with_the_statement_that_gives_it(
    fabric: OciFabric, region: OciRegion, permission: str
) -> None:
    region.network_api.granted = EVERYTHING - {permission}
    missing = [each for each in await fabric.diagnose() if each.state == "missing"]
    assert [each.subject for each in missing] == [permission]
    assert f"request.permission='{permission}'" in missing[0].remedy or " inspect " in missing[0].remedy
    assert "Allow dynamic-group" in missing[0].remedy


async def test_looking_the_instance_up_needs_more(region: OciRegion, context: PluginContext) -> None:
    vnic = ocid("vnic", "oci-leaf", region.region)
    fabric = OciFabric(context, OciOptions(vnics=(vnic,), region=region.region))
    await fabric.start()
    region.network_api.granted = EVERYTHING - {"INSTANCE_INSPECT"}
    found = states(await fabric.diagnose())
    # The API does not say which of the two it is.
    assert found["INSTANCE_INSPECT"] == found["VNIC_ATTACHMENT_READ"] == "missing"
    await fabric.aclose()


async def test_what_is_wrong_with_the_network_is_found(region: OciRegion, context: PluginContext) -> None:
    strange = "ocid1.routetable.oc1..strange"
    region.inventory.add_route_table(strange, "ocid1.vcn.oc1..strange", "strange")
    options = OciOptions(route_tables=(region.inventory.route_table, strange), route_rules_limit=1)
    fabric = OciFabric(context, options)
    fabric.share(frozenset({ip(region, "oci-leaf-2"), "ocid1.privateip.oc1..nobody"}))
    await fabric.start()
    findings: dict[str, Finding] = {each.subject: each for each in await fabric.diagnose()}
    assert findings[f"VCN of {strange}"].state == "missing"
    assert "routeTables" in findings[f"VCN of {strange}"].remedy
    full = findings[f"route rules of {region.inventory.route_table}"]
    assert (full.state, full.detail) == ("missing", "1 of 1 are in use")
    assert findings[f"router {ip(region, 'oci-leaf-2')}"].state == "ok"
    assert findings["router ocid1.privateip.oc1..nobody"].state == "missing"
    await fabric.aclose()


async def test_without_route_tables_nothing_is_asked_of_them(
    region: OciRegion, context: PluginContext
) -> None:
    fabric = OciFabric(context, OciOptions(route_tables=()))
    await fabric.start()
    found = states(await fabric.diagnose())
    assert found["route tables"] == "ok"
    assert "ROUTE_TABLE_UPDATE" not in found
    await fabric.aclose()


async def test_who_is_not_known_is_told_so_at_once(fabric: OciFabric, region: OciRegion) -> None:
    region.troubles.fail_next("GetVnic", status=401, code="NotAuthenticated", times=2)
    with pytest.raises(PermanentError, match="dynamic group"):
        await fabric.diagnose()


async def test_silence_is_no_diagnosis(fabric: OciFabric, region: OciRegion) -> None:
    region.troubles.add(Trouble(kind=Kind.CLOSE, times=None))
    with pytest.raises(TransientError, match="no answer"):
        await fabric.diagnose()
