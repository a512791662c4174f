"""Whatever a table holds and whatever is asked for: only what is ours is written, and it fits. Pure."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from routerd.errors import NotOwnedError, PermanentError, SupersededError, TransientError
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute, FabricRouteKey, RouteTableRef
from routerd.spi.site_routes import RouteChange, SiteRouters
from routerd_cloud_azure.faults import QuotaError
from routerd_cloud_azure.inventory import RouteTable
from routerd_cloud_azure.judge import edited, judge, name_for
from routerd_cloud_azure.limits import Limit

REF = "/subscriptions/1/resourceGroups/g/providers/Microsoft.Network/routeTables/t"
US, OTHER, THIRD, FOREIGN = (f"10.82.10.{number}" for number in (10, 5, 6, 99))
ROUTERS = SiteRouters(us=US, others=frozenset({OTHER, THIRD}))
PREFIXES = [IPv4Network(f"10.81.10.{number}/32") for number in range(6)]

hops = st.sampled_from([US, OTHER, THIRD, FOREIGN, "Internet", "None"])
values = st.sampled_from([None, US, OTHER, THIRD])


def body(prefix: object, hop: str, name: str) -> dict[str, Any]:
    """Return a route as the API shows it, with fields that we do not know."""
    address = {"nextHopIpAddress": hop} if hop[0].isdigit() else {}
    return {
        "name": name,
        "id": f"{REF}/routes/{name}",
        "etag": 'W/"1"',
        "type": "Microsoft.Network/routeTables/routes",
        "future": [name],
        "properties": {
            "addressPrefix": str(prefix),
            "nextHopType": "VirtualAppliance" if address else hop,
            "provisioningState": "Succeeded",
            "future": {"of": name},
            **address,
        },
    }


@st.composite
def tables(draw: st.DrawFn) -> RouteTable:
    """Draw a table: some of the prefixes, under our name for one or another, and other kinds of routes."""
    held = draw(st.dictionaries(st.sampled_from(PREFIXES), hops))
    names = draw(st.permutations([*(name_for(prefix) for prefix in PREFIXES), "Made-By-Hand", "x", "y"]))
    routes = [body(prefix, hop, name) for (prefix, hop), name in zip(held.items(), names, strict=False)]
    if draw(st.booleans()):
        routes.append(body("2001:db8::/32", "Internet", "v6"))
    if draw(st.booleans()):
        routes.append(body("Storage.JapanEast", "Internet", "tag"))
    return read({"routes": routes, "disableBgpRoutePropagation": True, "future": 1, "subnets": [{"id": "s"}]})


def read(properties: dict[str, Any]) -> RouteTable:
    return RouteTable.of(
        {"id": REF, "etag": 'W/"1"', "location": "l", "tags": {"a": "b"}, "properties": properties}
    )


@st.composite
def changes(draw: st.DrawFn) -> list[RouteChange]:
    wanted = draw(st.dictionaries(st.sampled_from(PREFIXES), st.tuples(values, values)))
    return [
        Change(
            key=FabricRouteKey(table=RouteTableRef(REF), prefix=prefix),
            before=FabricRoute(next_hop=before) if before else None,
            after=FabricRoute(next_hop=after) if after else None,
        )
        for prefix, (before, after) in wanted.items()
        if before or after
    ]


def hop_of(table: RouteTable, prefix: IPv4Network) -> str | None:
    route = table.at(prefix)
    return route.next_hop if route else None


@given(table=tables(), wanted=changes(), room=st.integers(min_value=0, max_value=9))
def test_only_what_is_ours_is_written_and_it_fits(
    table: RouteTable, wanted: list[RouteChange], room: int
) -> None:
    limit = Limit(routes=room, source="here")
    judged = judge(wanted, table, ROUTERS, limit)
    after = read(edited(table, judged.edits)["properties"])
    assert len(after.routes) <= max(room, len(table.routes))
    asked = {change.key.prefix: change for change in wanted}
    for route in table.routes:
        change = asked.get(route.prefix) if route.prefix else None
        leads = route.next_hop
        kept = after.named(route.name)
        if leads not in {US, OTHER, THIRD} or change is None:
            assert kept is not None
            assert (kept.destination, kept.hop, kept.address) == (route.destination, route.hop, route.address)
        elif leads != US and kept is not None and kept.next_hop != leads:
            # A takeover, from the router that the change names.
            assert change.before == FabricRoute(next_hop=leads)
            assert kept.next_hop == US
        elif leads != US:
            assert kept is not None, "a route of another router is never deleted"
    for change in wanted:
        held = hop_of(after, change.key.prefix)
        if change.key not in judged.failures:
            assert held == (change.after.next_hop if change.after else None)
        else:
            assert held == hop_of(table, change.key.prefix)


@given(table=tables(), wanted=changes(), room=st.integers(min_value=0, max_value=9))
def test_what_was_written_needs_no_second_writing(
    table: RouteTable, wanted: list[RouteChange], room: int
) -> None:
    limit = Limit(routes=room, source="here")
    judged = judge(wanted, table, ROUTERS, limit)
    after = read(edited(table, judged.edits)["properties"])
    again = judge([each for each in wanted if each.key not in judged.failures], after, ROUTERS, limit)
    assert again.edits == ()
    assert again.failures == {}


@given(table=tables(), wanted=changes())
def test_each_refusal_has_its_reason(table: RouteTable, wanted: list[RouteChange]) -> None:
    full = Limit(routes=len(table.routes), source="here")
    ours = FabricRoute(next_hop=US)
    for change in wanted:
        (error,) = judge([change], table, ROUTERS, full).failures.values() or (None,)
        held = hop_of(table, change.key.prefix)
        match error:
            case QuotaError():
                assert held is None
                assert f"{len(table.routes)} of {len(table.routes)} routes are in use" in str(error)
            case NotOwnedError():
                assert change.after == ours
                assert held not in {None, US, OTHER, THIRD}
            case TransientError():
                assert change.after == ours
                assert held in {OTHER, THIRD}
                assert change.before != FabricRoute(next_hop=held)
            case SupersededError():
                assert change.before == ours
                assert held != US
            case PermanentError():
                assert ours not in (change.before, change.after)
            case _:
                assert error is None


@given(table=tables())
def test_nothing_but_what_the_api_fills_in_is_left_out(table: RouteTable) -> None:
    written = edited(table, [])
    assert written == {
        "id": REF,
        "location": "l",
        "tags": {"a": "b"},
        "properties": {
            "disableBgpRoutePropagation": True,
            "future": 1,
            "routes": [
                {
                    "name": each["name"],
                    "id": each["id"],
                    "future": each["future"],
                    "properties": {
                        key: value for key, value in each["properties"].items() if key != "provisioningState"
                    },
                }
                for each in table.body["properties"]["routes"]
            ],
        },
    }


def test_a_next_hop_that_is_nobody_of_the_site_is_refused() -> None:
    table = read({"routes": []})
    key = FabricRouteKey(table=RouteTableRef(REF), prefix=PREFIXES[0])
    change = Change(key=key, before=None, after=FabricRoute(next_hop=FOREIGN))
    (error,) = judge([change], table, ROUTERS, Limit(routes=9, source="here")).failures.values()
    assert type(error) is PermanentError
    assert FOREIGN in str(error)
