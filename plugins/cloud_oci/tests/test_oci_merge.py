"""Foreign rules come back as they were and in their place, whatever the changes."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from routerd.errors import NotOwnedError, PermanentError, SupersededError
from routerd.model.change import Change
from routerd.model.fabric import FabricRoute, FabricRouteKey, RouteTableRef
from routerd.spi.site_routes import RouteChange, SiteRouters
from routerd_cloud_oci.faults import FullError
from routerd_cloud_oci.inventory import RouteTable, Rule, destination, target
from routerd_cloud_oci.judge import Site
from routerd_cloud_oci.merge import merge

US, OTHER, STRANGER = "ocid1.privateip.us", "ocid1.privateip.other", "ocid1.internetgateway.x"
NETWORK = IPv4Network("10.83.0.0/16")
TABLE = RouteTableRef("ocid1.routetable.t")

hosts = st.integers(0, 7).map(lambda number: IPv4Network((0x0A400000 + number, 32)))
hops = st.sampled_from([US, OTHER])
rules = st.fixed_dictionaries(
    {
        "networkEntityId": st.sampled_from([US, OTHER, STRANGER, None]),
        "routeType": st.sampled_from(["STATIC", "LOCAL"]),
    },
    optional={"future": st.integers(), "description": st.text(max_size=3)},
)
tables = st.dictionaries(hosts, rules, max_size=8).map(
    lambda held: tuple({"destination": str(prefix), **rule} for prefix, rule in held.items())
)
pairs = st.tuples(st.none() | hops, st.none() | hops).filter(any)
changes = st.lists(
    st.builds(
        lambda prefix, pair: Change(
            key=FabricRouteKey(table=TABLE, prefix=prefix),
            before=pair[0] and FabricRoute(next_hop=pair[0]),
            after=pair[1] and FabricRoute(next_hop=pair[1]),
        ),
        hosts,
        pairs,
    ),
    unique_by=lambda change: change.key,
    max_size=8,
)


def table(*held: Rule) -> RouteTable:
    return RouteTable(ref=TABLE, vcn="v", rules=held, etag="e")


def site(limit: int = 200, **more: Any) -> Site:
    routers = SiteRouters(us=US, others=frozenset({OTHER}))
    return Site(routers=routers, networks=(NETWORK,), limit=limit, **more)


def is_foreign(rule: Rule) -> bool:
    return target(rule) not in (US, OTHER)


def create(prefix: str, hop: str = US) -> RouteChange:
    key = FabricRouteKey(table=TABLE, prefix=IPv4Network(prefix))
    return Change(key=key, before=None, after=FabricRoute(next_hop=hop))


def delete(prefix: str) -> RouteChange:
    key = FabricRouteKey(table=TABLE, prefix=IPv4Network(prefix))
    return Change(key=key, before=FabricRoute(next_hop=US), after=None)


@given(held=tables, asked=changes, limit=st.integers(1, 10))
def test_nothing_foreign_changes_and_what_was_done_is_done(
    held: tuple[dict[str, Any], ...], asked: list[RouteChange], limit: int
) -> None:
    here = site(limit)
    merged = merge(table(*held), asked, here)
    assert [rule for rule in merged.rules if is_foreign(rule)] == [rule for rule in held if is_foreign(rule)]
    assert len(merged.rules) <= max(limit, len(held))
    left = {destination(rule): rule for rule in merged.rules}
    assert len(left) == len(merged.rules), "one rule for each destination"
    before = {destination(rule): rule for rule in held}
    for change in asked:
        prefix = change.key.prefix
        if change.key in merged.failures:
            assert left.get(prefix) == before.get(prefix), "what failed was left alone"
        elif change.after is None:
            assert prefix not in left
        else:
            assert left[prefix]["networkEntityId"] == change.after.next_hop
    done = [change for change in asked if change.key not in merged.failures]
    assert merge(table(*merged.rules), done, here).rules == merged.rules, "the second time writes nothing"
    asked_for = {change.key.prefix for change in asked}
    assert [rule for rule in merged.rules if destination(rule) not in asked_for] == [
        rule for rule in held if destination(rule) not in asked_for
    ]


@given(held=tables, asked=changes)
def test_another_router_is_never_deleted(held: tuple[dict[str, Any], ...], asked: list[RouteChange]) -> None:
    deletions = [change for change in asked if change.after is None]
    merged = merge(table(*held), deletions, site())
    led = [rule for rule in held if target(rule) == OTHER]
    assert [rule for rule in merged.rules if target(rule) == OTHER] == led
    assert all(isinstance(each, (SupersededError, PermanentError)) for each in merged.failures.values())


def test_the_vcns_own_rule_is_foreign_even_if_it_leads_to_us() -> None:
    local: Rule = {"destination": "10.9.9.9/32", "networkEntityId": US, "routeType": "LOCAL"}
    assert isinstance(
        next(iter(merge(table(local), [create("10.9.9.9/32")], site()).failures.values())), NotOwnedError
    )
    assert merge(table(local), [delete("10.9.9.9/32")], site()).rules == (local,)


def test_what_goes_makes_room_for_what_comes() -> None:
    ours: Rule = {"destination": "10.64.0.1/32", "networkEntityId": US}
    asked = [create("10.64.0.2/32"), create("10.64.0.3/32"), delete("10.64.0.1/32")]
    merged = merge(table(ours), asked, site(limit=1))
    assert [str(destination(rule)) for rule in merged.rules] == ["10.64.0.2/32"]
    (error,) = merged.failures.values()
    assert isinstance(error, FullError)
    assert "10.64.0.3/32 has no room; 1 of 1 rules are in use" in str(error)


def test_of_two_rules_for_a_destination_ours_is_deleted_and_the_strangers_is_in_the_way() -> None:
    """The API lets nobody make two, but where it did, nothing foreign may suffer."""
    pair: tuple[Rule, ...] = (
        {"destination": "10.64.0.1/32", "networkEntityId": US},
        {"destination": "10.64.0.1/32", "networkEntityId": STRANGER},
    )
    for held in (pair, pair[::-1]):
        assert merge(table(*held), [delete("10.64.0.1/32")], site()).rules == (pair[1],)
        merged = merge(table(*held), [create("10.64.0.1/32")], site())
        assert (merged.rules, merged.blockers) == (held, frozenset({STRANGER}))


def test_services_and_ipv6_are_nobodys_route() -> None:
    held: tuple[Rule, ...] = (
        {"destination": "all-nrt-services", "destinationType": "SERVICE_CIDR_BLOCK", "networkEntityId": "s"},
        {"destination": "2001:db8::/32", "networkEntityId": US},
        {"networkEntityId": US},
    )
    assert [destination(rule) for rule in held] == [None, None, None]
    assert merge(table(*held), [create("10.64.0.1/32")], site()).rules[:3] == held


def test_a_hop_that_is_no_router_of_the_site_is_refused() -> None:
    merged = merge(table(), [create("10.64.0.1/32", STRANGER)], site())
    assert merged.rules == ()
    assert isinstance(next(iter(merged.failures.values())), PermanentError)
