"""The scenario of `test_transport.py`, run as root of a namespace with the `bin` of the environment."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.netns.daemon_world import sh
from tests.thirdparty.join_world import (
    LEAF,
    LISTENER,
    REFLECTOR,
    REFLECTORS,
    Host,
    claim,
    policy,
    prepare,
    profile,
)

PLUGINS = ["transport_vxlan"]

FILTER = """
table inet strict {
  chain input {
    type filter hook input priority 0; policy drop;
    iifname "lo" accept
    ip protocol icmp accept
    tcp dport 65432 accept
    tcp sport 65432 accept
  }
}
"""
"""A packet filter of another program that lets no tunnel in."""


def vxlan(local: str, source: str, options: str = "") -> str:
    """Return the profile of tunnels by VXLAN."""
    plain = profile(local, source)
    made = plain.replace("mode: ipip", f"mode: vxlan{options}")
    assert made != plain
    return made


def supported() -> bool:
    """Say whether this kernel makes VXLAN devices."""
    made = sh(
        "ip link add probe type vxlan id 1 local 192.0.2.1 remote 192.0.2.2 dstport 4789 && echo yes || true"
    )
    sh("ip link del probe 2>/dev/null || true")
    return "yes" in made


def write(rr: Host, leaf: Host, options: str = "") -> None:
    """Write both files with the same options of the tunnels."""
    rr.write(
        LISTENER,
        REFLECTORS,
        vxlan(REFLECTOR, "SAMEnrollmentPolicy/leaves", options),
        policy("leaves", 1, "joinMethod: none"),
        plugins=PLUGINS,
    )
    leaf.write(
        vxlan(LEAF, "SAMRRSet/leaves", options),
        claim("leaf1", "leaves", 1, "joinMethod: none"),
        plugins=PLUGINS,
    )


def device(host: Host) -> str:
    """Return the tunnel's device of a host with its details, on one line."""
    return sh(f"ip -n {host.name} -d -o link show type vxlan").strip()


def inner(host: Host) -> str:
    """Return the inner address of a host's tunnel, empty without one."""
    found = sh(f"ip -n {host.name} -o -4 address show | grep -o 'inet 10.255[.0-9]*' || true").strip()
    return found.removeprefix("inet ")


def reaches(rr: Host, leaf: Host) -> bool:
    """Say whether each end reaches the other through the tunnel."""
    pairs = ((rr, inner(leaf)), (leaf, inner(rr)))
    return all(
        there and "1 received" in sh(f"ip netns exec {host.name} ping -c 1 -W 1 {there} || true")
        for host, there in pairs
    )


def openings(host: Host) -> list[str]:
    """Return the rules of routerd for UDP that comes in."""
    rules = sh(f"ip netns exec {host.name} nft list ruleset").splitlines()
    return sorted({rule.split(" counter")[0].split(" accept")[0].strip() for rule in rules if "udp" in rule})


def only(host: Host, port: str) -> bool:
    """Say whether the openings for UDP of a host are for one port alone."""
    rules = openings(host)
    return bool(rules) and all(port in rule for rule in rules)


def carries(rr: Host, leaf: Host) -> None:
    """Two daemons of a clean environment carry packets by the stranger's transport."""
    write(rr, leaf)
    for host in (rr, leaf):
        Path(f"/run/{host.name}.nft").write_text(FILTER)
        sh(f"ip netns exec {host.name} nft -f /run/{host.name}.nft")
        done = host.ask("validate")
        assert done.returncode == 0, done.stderr
    with rr.daemon():
        with leaf.daemon():
            leaf.until(lambda: reaches(rr, leaf), "and rr reach each other through the tunnel")
            vni = device(leaf).split("vxlan id ")[1].split()[0]
            assert f"vxlan id {vni} remote {LEAF} local {REFLECTOR}" in device(rr), device(rr)
            assert "mtu 1450" in device(leaf), device(leaf)
            # What the packet filter lets in is the port, and from the far end alone.
            for host, far in ((rr, LEAF), (leaf, REFLECTOR)):
                rules = openings(host)
                assert rules, sh(f"ip netns exec {host.name} nft list ruleset")
                assert all(f"ip saddr {far}" in rule and "4789" in rule for rule in rules), rules
            shown(leaf, inner(rr))
            index = device(leaf).split(":")[0]
        # Without its daemon the tunnel carries on, and the next daemon takes the same device over.
        assert reaches(rr, leaf)
        with leaf.daemon():
            leaf.until(lambda: leaf.membership("leaf1")["phase"] == "Ready", "is ready again")
            assert device(leaf).split(":")[0] == index, device(leaf)
            # Another port: a reload replaces the tunnel at both ends, and the opening goes along.
            write(rr, leaf, "\n        options: {port: 4790}")
            for host in (rr, leaf):
                done = host.ask("reload")
                assert done.returncode == 0, done.stderr
            leaf.until(lambda: "dstport 4790" in device(leaf) and reaches(rr, leaf), "uses the other port")
            leaf.until(lambda: only(leaf, "4790"), "opens only the other port")
            wrong(leaf)
        done = leaf.ask("down")
        assert done.returncode == 0, done.stderr
        assert not device(leaf), device(leaf)


def shown(leaf: Host, there: str) -> None:
    """Status, metrics and explain show the tunnel like one of a built-in transport."""
    status = leaf.json("status")
    (tunnel,) = status["tunnels"]
    assert (tunnel["backend"], tunnel["up"]) == ("kernel", True), tunnel
    assert tunnel["rxBytes"] > 0, tunnel
    assert "tunnels/vxlan" in [each["name"] for each in status["tables"]], status["tables"]
    metrics = leaf.ask("metrics").stdout
    assert f'routerd_tunnel_up{{backend="kernel",link="{tunnel["link"]}"}} 1.0' in metrics, metrics
    told = leaf.ask("explain", there).stdout
    assert f"{tunnel['link']} to rr (vxlan, far end {REFLECTOR}): up, backend kernel" in told, told


def wrong(leaf: Host) -> None:
    """A mistake in the options or the name has file and line, and says what there is."""
    text = leaf.config.read_text()
    number = next(n for n, line in enumerate(text.splitlines(), 1) if "port: 4790" in line)
    leaf.config.write_text(text.replace("{port: 4790}", "{port: 0}"))
    done = leaf.ask("validate")
    assert done.returncode == 2, done
    assert (
        f"{leaf.config}:{number}: SAMTransportProfile/fabric spec.options: port: 0 is not a port"
        in done.stderr
    )
    leaf.config.write_text(text.replace("mode: vxlan", "mode: geneve"))
    done = leaf.ask("validate")
    assert done.returncode == 2, done
    assert f"{leaf.config}:{number - 1}: SAMTransportProfile/fabric spec.mode: " in done.stderr, done.stderr
    assert "provides tunnel mode geneve (enabled: transport_vxlan; they provide: vxlan)" in done.stderr
    leaf.config.write_text(text)


def main() -> None:
    """Run the scenario."""
    prepare()
    if not supported():
        sys.exit("this kernel makes no VXLAN")
    places = (("rr", "rr"), ("leaf", "leaf1"))
    rr, leaf = (Host(name=name, node=node, bin=Path(sys.argv[1])) for name, node in places)
    carries(rr, leaf)


if __name__ == "__main__":
    main()
