"""The kernel's tables on a real kernel. Not collected: `test_routes_firewall_kernel.py` runs it inside
a user namespace of its own, where every rule and route is ours to make.
"""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path
from typing import ClassVar

import attrs
import pytest

from routerd.errors import NotOwnedError, PermanentError, TransientError, UnsupportedError
from routerd.kernel.addresses import AddressTable
from routerd.kernel.firewall.table import FirewallTable
from routerd.kernel.routes.table import RouteTable
from routerd.kernel.sysctl import SysctlTable
from routerd.model.change import Change
from routerd.model.firewall import Accept, FirewallKey, FirewallRule, MssClamp
from routerd.model.names import LinkName
from routerd.model.route import Address, AddressKey, NextHop, Route, RouteKey
from routerd.testing.contracts import Foreign, Samples, TableContract, TableRules, assert_holds

V0, V1 = LinkName("v0"), LinkName("v1")


def shell(command: str) -> str:
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


@pytest.fixture(autouse=True)
def links() -> Iterator[None]:
    """Make a wire with one address, and take everything away afterwards."""
    shell("ip link add v0 type veth peer name v1 && ip addr add 10.255.0.0/31 dev v0")
    shell("ip link set lo up && ip link set v0 up && ip link set v1 up")
    yield
    shell("ip link del v0; ip route flush table all proto 147; ip route flush table all proto 186; true")
    shell("nft flush ruleset; iptables-legacy -F; iptables-legacy -P FORWARD ACCEPT")


def host(number: int) -> RouteKey:
    return RouteKey(prefix=IPv4Network(int(IPv4Address("10.77.0.0")) + number))


VIA = Route(next_hops=(NextHop(gateway=IPv4Address("10.255.0.1"), link=V0),))
BARE = Route(next_hops=(NextHop(gateway=IPv4Address("10.255.0.1")),))
DEV = Route(next_hops=(NextHop(link=V0),))
FAR = Route(next_hops=(NextHop(gateway=IPv4Address("10.254.0.1")),))


def creations(keys: Mapping[RouteKey, Route]) -> list[Change[RouteKey, Route]]:
    return [Change(key=key, before=None, after=route) for key, route in keys.items()]


class TestRouteContract(TableContract):
    @pytest.fixture
    def table(self) -> RouteTable:
        return RouteTable()

    @pytest.fixture
    def samples(self) -> Samples[RouteKey, Route]:
        taken = host(9)

        async def place() -> None:
            shell(f"ip route add {taken.prefix} dev v1 metric 200 proto 186")

        async def read() -> object:
            return shell("ip route show proto 186")

        several = (NextHop(gateway=IPv4Address("10.255.0.1"), link=V0),
                   NextHop(gateway=IPv4Address("192.0.2.1"), link=V1, onlink=True))  # fmt: skip
        return Samples(
            values={
                host(1): VIA,
                host(2): BARE,
                host(3): Route(next_hops=several),
                host(4): Route(next_hops=(), kind="blackhole"),
                host(5): Route(next_hops=VIA.next_hops, source=IPv4Address("10.255.0.0")),
                RouteKey(prefix=IPv4Network("10.9.0.0/16"), metric=5, table=1000): VIA,
                RouteKey(prefix=IPv4Network("0.0.0.0/0"), metric=0, table=100): DEV,
            },
            replacement={host(1): Route(next_hops=several), host(3): DEV, host(4): VIA},
            refused={host(6): FAR},
            foreign=Foreign(key=taken, value=VIA, place=place, read=read),
        )


class TestAddressContract(TableContract):
    tables: ClassVar[tuple[TableRules, ...]] = (TableRules(attribute="table", replaces=False, foreign=False),)

    @pytest.fixture
    def table(self) -> AddressTable:
        return AddressTable()

    @pytest.fixture
    def samples(self) -> Samples[AddressKey, Address]:
        def key(link: str, text: str) -> AddressKey:
            return AddressKey(link=LinkName(link), address=IPv4Interface(text))

        return Samples(
            values={key("v0", "10.1.0.1/24"): Address(), key("v1", "10.2.0.1/32"): Address()},
            refused={key("absent", "10.3.0.1/32"): Address()},
        )


async def test_an_address_that_was_there_before_serves_and_stays() -> None:
    key = AddressKey(link=V0, address=IPv4Interface("10.255.0.0/31"))
    table = AddressTable()
    assert await table.observe() == {}
    assert await table.apply([Change(key=key, before=None, after=Address())]) == {}
    assert await table.observe() == {key: Address()}
    assert await table.apply([Change(key=key, before=Address(), after=None)]) == {}
    assert await table.observe() == {}
    assert "10.255.0.0/31" in shell("ip addr show v0")


async def test_ten_thousand_routes_come_change_and_go() -> None:
    table = RouteTable()
    keys = [host(number) for number in range(10_000)]
    assert await table.apply(creations(dict.fromkeys(keys, BARE))) == {}
    assert_holds(table, dict.fromkeys(keys, BARE), await table.observe())
    assert await table.apply([Change(key=key, before=BARE, after=DEV) for key in keys]) == {}
    assert await table.observe() == dict.fromkeys(keys, DEV)
    assert await table.apply([Change(key=key, before=DEV, after=None) for key in keys]) == {}
    assert await table.observe() == {}


async def test_one_failing_route_in_a_batch_is_named_and_the_others_hold() -> None:
    table = RouteTable()
    routes = {host(number): VIA for number in range(700)}
    bad = host(1000)
    wanted = [*creations(routes)[:250], *creations({bad: FAR}), *creations(routes)[250:]]
    failures = await table.apply(wanted)
    assert {key: str(error) for key, error in failures.items()} == {
        bad: "route 10.77.3.232/32: next hop 10.254.0.1 is not reachable"
    }
    assert isinstance(failures[bad], TransientError)
    assert await table.observe() == routes


async def test_ipv6_in_a_route_fails_by_its_key_and_the_other_routes_hold() -> None:
    table, six = RouteTable(), IPv6Address("2001:db8::1")
    prefix = RouteKey(prefix=IPv6Network("2001:db8:7::/64"))
    gateway = Route(next_hops=(NextHop(gateway=six, link=V0),))
    bad = {prefix: VIA, host(8): gateway, host(9): attrs.evolve(VIA, source=six)}
    failures = await table.apply(creations({host(1): VIA, **bad, host(2): VIA}))
    ending = "is IPv6; routerd does not support IPv6 here yet; use IPv4"
    assert {key: str(error) for key, error in failures.items()} == {
        prefix: f"route 2001:db8:7::/64: 2001:db8:7::/64 {ending}",
        host(8): f"route 10.77.0.8/32: 2001:db8::1 {ending}",
        host(9): f"route 10.77.0.9/32: 2001:db8::1 {ending}",
    }
    assert all(isinstance(error, UnsupportedError) for error in failures.values())
    assert await table.observe() == {host(1): VIA, host(2): VIA}


async def test_ipv6_as_an_address_fails_by_its_key_and_the_other_addresses_hold() -> None:
    good = AddressKey(link=V0, address=IPv4Interface("10.1.0.1/24"))
    bad = AddressKey(link=V0, address=IPv6Interface("2001:db8::1/64"))
    table = AddressTable()
    failures = await table.apply([Change(key=key, before=None, after=Address()) for key in (bad, good)])
    assert failures.keys() == {bad}
    assert isinstance(failures[bad], UnsupportedError)
    assert "link v0: 2001:db8::1/64 is IPv6" in str(failures[bad])
    assert await table.observe() == {good: Address()}


async def test_an_opening_for_ipv6_fails_by_its_key_and_the_other_openings_hold() -> None:
    good, bad = (Accept(chain="input", protocol="udp", port=51820, source=source)
                 for source in (IPv4Network("192.0.2.0/24"), IPv6Network("2001:db8::/64")))  # fmt: skip
    table = FirewallTable()
    failures = await table.apply(opened((bad, good)))
    assert failures.keys() == {bad}
    assert isinstance(failures[bad], UnsupportedError)
    assert str(failures[bad]).startswith("firewall rule accept input source=2001:db8::/64")
    assert await table.observe() == {good: HERE}


async def test_a_batch_of_failures_reports_each() -> None:
    failures = await RouteTable().apply(creations({host(number): FAR for number in range(3000)}))
    assert len(failures) == 3000
    assert all(isinstance(error, TransientError) for error in failures.values())


async def test_a_route_whose_gateway_comes_with_the_same_batch_is_made() -> None:
    table = RouteTable()
    gateway = RouteKey(prefix=IPv4Network("10.254.0.1/32"))
    assert await table.apply(creations({host(1): FAR, gateway: DEV})) == {}


async def test_a_missing_link_is_named() -> None:
    gone = Route(next_hops=(NextHop(link=LinkName("nope")),))
    failures = await RouteTable().apply(creations({host(1): gone}))
    assert str(failures[host(1)]) == "route 10.77.0.1/32: link nope does not exist"


async def test_a_foreign_route_is_not_replaced_and_its_protocol_is_named() -> None:
    table = RouteTable()
    shell("ip route add 10.77.0.1/32 dev v1 metric 200 proto static")
    failures = await table.apply([Change(key=host(1), before=DEV, after=VIA)])
    assert isinstance(failures[host(1)], NotOwnedError)
    assert "protocol 4 and is not ours" in str(failures[host(1)])
    assert "dev v1" in shell("ip route show 10.77.0.1/32")


async def test_a_foreign_route_of_another_metric_is_no_obstacle() -> None:
    table = RouteTable()
    shell("ip route add 10.77.0.1/32 dev v1 metric 100 proto static")
    assert await table.apply(creations({host(1): VIA})) == {}
    assert await table.observe() == {host(1): VIA}


async def test_too_many_next_hops_are_refused_with_the_limit() -> None:
    route = Route(next_hops=VIA.next_hops * 17)
    failures = await RouteTable().apply(creations({host(1): route}))
    assert isinstance(failures[host(1)], PermanentError)
    assert "the kernel takes 1 to 16" in str(failures[host(1)])


# --- firewall --------------------------------------------------------------------------------------

WIREGUARD = Accept(chain="input", protocol="udp", port=51820)
IPIP = Accept(chain="input", protocol="4", source=IPv4Network("192.0.2.1/32"))
BGP = Accept(chain="input", protocol="tcp", port=179, in_link=V0)
OUT = Accept(chain="forward", out_link=V0)
BACK = Accept(chain="forward", in_link=V0)
CLAMP = MssClamp(link=V0)
RULES = (WIREGUARD, IPIP, BGP, OUT, BACK, CLAMP, Accept(chain="input", protocol="47"))
HERE = FirewallRule()

# What Oracle's images load: everything that is not asked for is rejected.
ORACLE = (
    "-A INPUT -p icmp -j ACCEPT; -A INPUT -j REJECT --reject-with icmp-host-prohibited; "
    "-A FORWARD -j REJECT --reject-with icmp-host-prohibited"
)
WORLDS = {
    "empty": "true",
    "oracle, iptables-nft": "; ".join(f"iptables-nft {rule}" for rule in ORACLE.split("; ")),
    "oracle, iptables-legacy": "; ".join(f"iptables-legacy {rule}" for rule in ORACLE.split("; ")),
    "policy drop, iptables-legacy": "iptables-legacy -P FORWARD DROP",
    "all at once": (
        "iptables-nft -P INPUT DROP; iptables-nft -A FORWARD -j REJECT; "
        "iptables-legacy -P FORWARD DROP; iptables-legacy -A INPUT -j REJECT; "
        "nft 'table inet mine { chain f { type filter hook forward priority 0; policy drop; }; }'"
    ),
    "nftables": r"""printf '
table inet filter {
  chain bad { drop; }
  chain arriving { type filter hook input priority 0; jump bad; }
  chain passing { type filter hook forward priority 0; policy drop; }
}
' | nft -f -""",
}


def opened(keys: tuple[FirewallKey, ...]) -> list[Change[FirewallKey, FirewallRule]]:
    return [Change(key=key, before=None, after=HERE) for key in keys]


class TestFirewallContract(TableContract):
    tables: ClassVar[tuple[TableRules, ...]] = (
        TableRules(attribute="firewall", replaces=False, foreign=False),
    )

    @pytest.fixture(params=WORLDS)
    def world(self, request: pytest.FixtureRequest, links: None) -> str:
        name: str = request.param
        shell(WORLDS[name])
        return name

    @pytest.fixture
    def table(self, world: str) -> FirewallTable:
        return FirewallTable()

    @pytest.fixture
    def samples(self) -> Samples[FirewallKey, FirewallRule]:
        return Samples(
            values=dict.fromkeys(RULES, HERE), refused={Accept(chain="input", protocol="bogus"): HERE}
        )

    async def test_undoing_leaves_the_rules_of_others_as_they_were(self, world: str) -> None:
        everything = (
            "nft -s list ruleset; cat /proc/net/ip_tables_names; iptables-legacy-save 2>/dev/null | grep ^-"
        )
        shell("iptables-legacy -S")  # the modules' own tables appear when they are first read
        before = shell(f"{{ {everything}; }} || true")
        table = FirewallTable()
        assert await table.apply(opened(RULES)) == {}
        assert shell(f"{{ {everything}; }} || true") != before
        observed = await table.observe()
        undone = [Change(key=key, before=rule, after=None) for key, rule in observed.items()]
        assert await table.apply(undone) == {}
        assert shell(f"{{ {everything}; }} || true") == before


@pytest.mark.parametrize("program", ["iptables-nft", "iptables-legacy"])
async def test_an_opening_stands_before_the_reject_with_our_comment(program: str) -> None:
    shell("; ".join(f"{program} {rule}" for rule in ORACLE.split("; ")))
    assert await FirewallTable().apply(opened(RULES)) == {}
    lines = shell(f"{program} -S FORWARD").splitlines()
    assert sorted(lines[1:3]) == [
        "-A FORWARD -i v0 -m comment --comment routerd -j ACCEPT",
        "-A FORWARD -o v0 -m comment --comment routerd -j ACCEPT",
    ]
    assert "REJECT" in lines[3]


async def test_an_opening_stands_at_the_top_of_a_dropping_nft_chain() -> None:
    shell(WORLDS["nftables"])
    assert await FirewallTable().apply(opened((OUT, WIREGUARD))) == {}
    first = shell("nft list chain inet filter arriving").splitlines()[3].strip()
    assert first.startswith("udp dport 51820 accept")
    assert 'oifname "v0" accept' in shell("nft list chain inet filter passing")


async def test_a_chain_that_drops_nothing_is_left_alone() -> None:
    shell("iptables-nft -A INPUT -p icmp -j ACCEPT")
    before = shell("iptables-nft -S")
    assert await FirewallTable().apply(opened(RULES)) == {}
    assert shell("iptables-nft -S") == before


async def test_a_rule_set_loaded_later_is_opened_too() -> None:
    table = FirewallTable()
    await table.apply(opened((OUT,)))
    shell("iptables-nft -A FORWARD -j REJECT")
    observed = await table.observe()
    assert observed == {OUT: FirewallRule(everywhere=False)}
    assert await table.apply([Change(key=OUT, before=observed[OUT], after=HERE)]) == {}
    assert await table.observe() == {OUT: HERE}


async def test_somebody_elses_equal_rule_is_not_taken_for_ours() -> None:
    shell("iptables-nft -A FORWARD -o v0 -j ACCEPT; iptables-nft -A FORWARD -j REJECT")
    table = FirewallTable()
    assert await table.observe() == {}
    await table.apply(opened((OUT,)))
    await table.apply([Change(key=OUT, before=HERE, after=None)])
    assert "-A FORWARD -o v0 -j ACCEPT" in shell("iptables-nft -S FORWARD")


async def test_a_table_of_ours_that_somebody_emptied_is_removed_with_nothing_else_to_change() -> None:
    table = FirewallTable()
    assert await table.apply(opened((OUT,))) == {}
    shell("nft flush table ip routerd")
    assert await table.observe() == {}
    assert await table.apply([]) == {}
    assert shell("nft list tables") == ""


async def test_nothing_to_change_changes_nothing() -> None:
    table = FirewallTable()
    assert await table.apply(opened(RULES)) == {}
    before = shell("nft list ruleset")
    assert await table.apply([]) == {}
    assert shell("nft list ruleset") == before


@pytest.mark.parametrize("program", ["iptables-nft", "iptables-legacy"])
async def test_rules_of_others_with_comments_like_ours_stay(program: str) -> None:
    alike = ["routerd2", "routerd accept input protocol=47", "the routerd", "routerd-gw"]
    for comment in alike:
        shell(f"{program} -A INPUT -p gre -m comment --comment '{comment}' -j ACCEPT")
    shell(f"{program} -P INPUT DROP")
    for family, name in (("ip", "routerd2"), ("inet", "routerd"), ("ip", "my-routerd"), ("ip6", "routerd")):
        rule = 'udp dport 7 accept comment "routerd accept input for the web"'
        shell(
            f"nft 'table {family} {name} {{ chain input {{ type filter hook input priority 0; {rule}; }}; }}'"
        )
    everything = f"nft -s list ruleset | grep -v policy; {program} -S"
    before = shell(everything)
    table = FirewallTable()
    assert await table.observe() == {}
    assert await table.apply(opened(RULES)) == {}
    assert await table.observe() == dict.fromkeys(RULES, HERE)
    assert await table.apply([Change(key=key, before=HERE, after=None) for key in RULES]) == {}
    assert shell(everything) == before


OUT_DROPS = {
    "nftables": (
        "nft 'table inet mine { chain out { type filter hook output priority 0; policy drop; }; }'",
        "chain inet mine out (hook output)",
    ),
    "iptables-nft": ("iptables-nft -P OUTPUT DROP", "chain ip filter OUTPUT (hook output)"),
    "iptables-legacy": ("iptables-legacy -P OUTPUT DROP", "chain OUTPUT of iptables-legacy"),
}


@pytest.mark.parametrize(("command", "name"), OUT_DROPS.values(), ids=OUT_DROPS)
async def test_a_chain_of_another_hook_that_drops_by_policy_is_named_and_left_alone(
    command: str, name: str
) -> None:
    table = FirewallTable()
    everything = "nft -s list ruleset; iptables-legacy -S"
    shell(everything)
    assert await table.observe() == {}
    assert table.closed == ()
    shell(command)
    try:
        before = shell(everything)
        assert await table.apply(opened(RULES)) == {}
        assert await table.observe() == dict.fromkeys(RULES, HERE)
        assert table.closed == (name,)
        assert await table.apply([Change(key=key, before=HERE, after=None) for key in RULES]) == {}
        assert shell(everything) == before
    finally:
        shell("iptables-legacy -P OUTPUT ACCEPT")


VERDICTS = {
    "a verdict map": "ct state vmap { established : accept, invalid : drop }",
    "a map that jumps": 'iifname vmap { "lo" : accept, "v0" : jump bad }',
    "a named map": "ip saddr vmap @verdicts",
}


@pytest.mark.parametrize("rule", VERDICTS.values(), ids=VERDICTS)
async def test_a_chain_that_drops_by_a_verdict_map_is_opened(rule: str) -> None:
    script = (
        "table inet filter { chain bad { reject; }; "
        "map verdicts { type ipv4_addr : verdict; elements = { 192.0.2.9 : jump bad }; }; "
        f"chain arriving {{ type filter hook input priority 0; {rule}; }}; }}"
    )
    shell(f"printf '%s' '{script}' | tr ';' '\\n' | sed 's/priority 0/priority 0;/' | nft -f -")
    assert await FirewallTable().apply(opened((WIREGUARD,))) == {}
    assert "udp dport 51820 accept" in shell("nft list chain inet filter arriving")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only directory in which programs are found."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("routerd.kernel.process._PATH", str(tmp_path))
    return tmp_path


def install(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).symlink_to(Path("/usr/sbin") / name)


async def test_without_any_packet_filter_an_opening_is_unsupported(programs: Path) -> None:
    failures = await FirewallTable().apply(opened((OUT,)))
    assert isinstance(failures[OUT], UnsupportedError)
    assert "install nftables" in str(failures[OUT])
    assert await FirewallTable().observe() == {}


@pytest.mark.parametrize("variant", ["iptables-nft", "iptables-legacy"])
async def test_without_nft_iptables_holds_everything(programs: Path, variant: str) -> None:
    install(programs, variant, f"{variant}-restore")
    table = FirewallTable()
    assert await table.apply(opened(RULES)) == {}
    assert await table.observe() == dict.fromkeys(RULES, HERE)
    assert await table.apply([Change(key=key, before=HERE, after=None) for key in RULES]) == {}
    assert await table.observe() == {}


async def test_without_iptables_nft_holds_everything(programs: Path) -> None:
    install(programs, "nft")
    table = FirewallTable()
    assert await table.apply(opened(RULES)) == {}
    assert await table.observe() == dict.fromkeys(RULES, HERE)


# --- sysctl ----------------------------------------------------------------------------------------


class Kept:
    """Originals in memory."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def record(self, key: str, value: str) -> None:
        self.values[key] = value

    def forget(self, key: str) -> None:
        self.values.pop(key, None)

    def all(self) -> Mapping[str, str]:
        return dict(self.values)


@pytest.fixture
async def sysctls() -> AsyncIterator[SysctlTable]:
    table = SysctlTable(Kept())
    yield table
    for key, value in (await table.observe()).items():
        await table.apply([Change(key=key, before=value, after=None)])


async def test_real_settings_are_set_and_restored(sysctls: SysctlTable) -> None:
    key, path = "net.ipv4.conf.v0.rp_filter", Path("/proc/sys/net/ipv4/conf/v0/rp_filter")
    before = path.read_text()
    assert await sysctls.apply([Change(key=key, before=None, after="2")]) == {}
    assert path.read_text() == "2\n"
    assert await sysctls.apply([Change(key=key, before="2", after=None)]) == {}
    assert path.read_text() == before


async def test_a_value_that_the_kernel_refuses_is_reported(sysctls: SysctlTable) -> None:
    key = "net.ipv4.conf.v0.rp_filter"
    failures = await sysctls.apply([Change(key=key, before=None, after="many")])
    assert isinstance(failures[key], PermanentError)
    assert "refuses many" in str(failures[key])


async def test_undoing_forwarding_undoes_what_the_kernel_changed_with_it(sysctls: SysctlTable) -> None:
    # Whoever writes ip_forward writes the forwarding of every device, and the redirects of `all`.
    shell("sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0")
    shell("sysctl -qw net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.v0.forwarding=1")
    shell("sysctl -qw net.ipv6.conf.v1.forwarding=1")
    everything = "sysctl -a -r '^net.ipv[46].(conf|ip_forward)' 2>/dev/null"
    settings = {
        "net.ipv4.conf.all.accept_redirects": "1",
        "net.ipv4.ip_forward": "1",
        "net.ipv6.conf.all.forwarding": "1",
    }
    was = shell(everything)
    wanted = [Change(key=key, before=None, after=value) for key, value in settings.items()]
    assert await sysctls.apply(wanted) == {}
    assert "net.ipv4.conf.all.accept_redirects = 1" in shell(everything)
    observed = await sysctls.observe()
    assert observed == settings
    undone = [Change(key=key, before=value, after=None) for key, value in observed.items()]
    assert await sysctls.apply(undone) == {}
    assert shell(everything) == was
