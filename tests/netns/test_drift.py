"""What somebody takes away by hand is back long before the next resync, and others' churn costs little."""

from __future__ import annotations

import pytest
from tests.netns.test_daemon import _on_a_host

pytestmark = [pytest.mark.netns, pytest.mark.timeout(900)]

_DEADLINE = "SOON = 90.0  # seconds; a resync is after 120\n"


def test_an_address_and_a_route_that_somebody_deletes_are_back_soon() -> None:
    _on_a_host(
        _DEADLINE
        + """
write(LAN, ROUTE)
with daemon():
    sh("ip route del 10.50.0.0/16")
    until(lambda: "10.50.0.0/16" in routes(), SOON)
    # The kernel takes the route along without a word about it.
    sh("ip addr del 10.1.0.1/24 dev lan0")
    until(lambda: "10.1.0.1/24" in sh("ip -4 addr") and "10.50.0.0/16" in routes(), SOON)
    sh("ip link set lan0 down")
    assert "10.50.0.0/16" not in routes()
    sh("ip link set lan0 up")
    until(lambda: "10.50.0.0/16" in routes(), SOON)
"""
    )


def test_a_route_that_somebody_replaced_and_took_away_is_back_soon() -> None:
    _on_a_host(
        _DEADLINE
        + """
write(LAN, ROUTE)
with daemon():
    sh("ip link add d0 type bridge && ip link set d0 up")
    sh("ip route replace 10.50.0.0/16 dev d0 proto static metric 200")
    until(lambda: "not ours" in routerd("status").stdout, SOON)
    assert "dev d0" in sh("ip route")
    # The pause after such a refusal is 300 s.
    sh("ip route del 10.50.0.0/16 dev d0")
    until(lambda: "10.50.0.0/16" in routes(), SOON)
"""
    )


def test_a_tunnel_follows_the_mtu_of_the_device_below() -> None:
    _on_a_host(
        _DEADLINE
        + """
write(LAN, TUNNEL.replace("{mode:", "{underlayInterface: lan, mode:"), plugins="transport_ipip")
def mtu():
    (found,) = [each for each in json.loads(sh("ip -j link")) if each["ifname"] == "t1"]
    return found["mtu"]
sh("ip link set lan0 mtu 1400")
with daemon():
    assert mtu() == 1380
    sh("ip link set lan0 mtu 1300")
    until(lambda: mtu() == 1280, SOON)
"""
    )


def test_a_tunnel_and_a_packet_filter_rule_that_somebody_deletes_are_back_soon() -> None:
    _on_a_host(
        _DEADLINE
        + """
write(LAN, TUNNEL, plugins="transport_ipip")
def link():
    return [each for each in json.loads(sh("ip -j -d link")) if each["ifname"] == "t1"]
with daemon():
    (before,) = link()
    sh("ip link del t1")
    until(lambda: link() and "10.9.0.1/31" in sh("ip -4 addr show t1"), SOON)
    assert link()[0]["ifindex"] != before["ifindex"]
    rules = sh("nft list table ip routerd")
    assert 'iifname "t1"' in rules, rules
    sh("nft flush chain ip routerd forward")
    until(lambda: sh("nft list table ip routerd") == rules, SOON)
"""
    )


def test_the_daemon_rests_when_nothing_happens_and_hardly_wakes_for_others() -> None:
    _on_a_host("""
write(LAN, ROUTE, TUNNEL, plugins="transport_ipip")
sh("ip link add d0 type bridge && ip link set d0 up")
change = "route add 10.77.{0}.0/24 dev d0\\nroute del 10.77.{0}.0/24 dev d0\\n"
Path("/run/routes").write_text("".join(change.format(number) for number in range(250)))
Path("/run/links").write_text("link set d0 mtu 1400\\nlink set d0 mtu 1500\\n" * 250)
with daemon() as process:
    seen = [passes()]
    until(lambda: seen.append(passes()) or (len(seen) > 5 and len(set(seen[-5:])) == 1))
    used, began = processor(process), time.monotonic()
    for _ in range(40):
        sh("ip -batch /run/routes")
    assert passes() <= seen[-1] + 1, (seen, passes())
    for _ in range(40):
        sh("ip -batch /run/links")
    # Ten looks at once and then one in five seconds.
    most = seen[-1] + 12 + (time.monotonic() - began) / 5
    assert passes() <= most, (seen, passes(), most)
    assert processor(process) - used < 3, processor(process) - used
    sh("ip route del 10.50.0.0/16")
    until(lambda: "10.50.0.0/16" in routes())
""")
