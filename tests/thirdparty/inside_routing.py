"""The scenario of `test_routing_static.py`, run as root of a namespace with a `bin`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.netns.daemon_world import sh
from tests.thirdparty.join_world import LEAF, REFLECTOR, Host, prepare

PREFIX, OTHER, TUNNEL = "10.88.1.20/32", "10.88.1.21/32", "10.89.0.1/32"
NET_6, OF_6, HOP_6 = "2001:db8:7::/64", "10.88.1.22/32", "2001:db8::1"
BY_HAND = "203.0.113.99"
FILE = Path("/run/routes.txt")


def bgp(own: str, peer: str, *, passive: bool) -> str:
    """Return a speaker on a host's address and its one session."""
    return f"""\
    - apiVersion: net.routerd.net/v1alpha1
      kind: BGPRouter
      metadata: {{name: fabric}}
      spec:
        asn: 64577
        routerID: {own}
        listen: {{address: {own}}}
        timers: {{profile: fast}}
        redistribute: {{connected: {{allowedPrefixes: [{PREFIX}]}}}}
        importPolicy: {{allowedPrefixes: [10.88.0.0/16]}}
    - apiVersion: net.routerd.net/v1alpha1
      kind: BGPPeer
      metadata: {{name: peers}}
      spec:
        routerRef: BGPRouter/fabric
        peerASN: 64577
        peers: [{peer}]
        passiveMode: {str(passive).lower()}
"""


ADDRESS = f"""\
    - apiVersion: net.routerd.net/v1alpha1
      kind: IPv4StaticAddress
      metadata: {{name: client}}
      spec: {{interface: wan, address: {PREFIX}}}
"""


def write(*lines: str) -> None:
    """Replace the routes of the file in one step."""
    new = FILE.with_suffix(".new")
    new.write_text("".join(f"{line}\n" for line in lines))
    new.replace(FILE)


def installed(rr: Host, prefix: str) -> str:
    """Return the route of a prefix in the kernel of the reflector, or nothing."""
    return sh(f"ip -n {rr.name} route show {prefix} proto 147").strip()


def routes(rr: Host) -> dict[tuple[str, str], tuple[bool, bool]]:
    """Return of each prefix and source whether its path is best, and whether it is installed."""
    return {
        (each["prefix"], each["source"]): (each["best"], each["installed"])
        for each in rr.json("routes")["items"]
    }


def main() -> None:
    """Two routings that have one prefix: the one of lower preference, then the other, then that again."""
    prepare()
    place = Path(sys.argv[1])
    rr, leaf = (Host(name=name, node=name, bin=place) for name in ("rr", "leaf"))
    plugins = ["bgp_ryu", "routing_static"]
    six = f"{NET_6} via {BY_HAND}", f"{OF_6} via {HOP_6}"
    write(*six, f"{PREFIX} via {BY_HAND}", f"{OTHER} via {BY_HAND}", f"{TUNNEL} via {BY_HAND}")
    rr.write(bgp(REFLECTOR, LEAF, passive=True), plugins=plugins)
    options = f"plugins: {{bgp_ryu: {{}}, routing_static: {{file: {FILE}}}}}"
    text = rr.config.read_text()
    assert "plugins: [bgp_ryu, routing_static]" in text
    rr.config.write_text(text.replace("plugins: [bgp_ryu, routing_static]", options))
    leaf.write(ADDRESS, bgp(LEAF, REFLECTOR, passive=False), plugins=["bgp_ryu"])
    with rr.daemon(), leaf.daemon():
        rr.until(lambda: (PREFIX, "bgp") in routes(rr), "learns by BGP too")
        rr.until(lambda: BY_HAND in installed(rr, PREFIX), "has the route of the file")
        assert routes(rr)[PREFIX, "static"] == (True, True)
        assert routes(rr)[PREFIX, "bgp"][0] is False
        assert BY_HAND in installed(rr, OTHER)
        # The core's policy: outside of what the file of the router permits.
        assert installed(rr, TUNNEL) == ""
        rejected = rr.json("routes", "--rejected")["items"]
        refused = {each["prefix"]: each["reason"] for each in rejected if each["source"] == "static"}
        assert refused == {
            TUNNEL: "prefix-outside-import-policy",
            NET_6: "address-family-unsupported",
            OF_6: "address-family-unsupported",
        }, refused
        assert NET_6 in rr.ask("routes", "--rejected").stdout
        assert sh(f"ip -n {rr.name} -6 route show proto 147") == ""
        assert installed(rr, OF_6) == ""
        assert rr.json("status")["phase"] == "Ready", rr.json("status")["reasons"]
        assert "Traceback" not in rr.log
        said = rr.ask("explain", PREFIX.removesuffix("/32")).stdout
        assert "static" in said, said
        assert "because static is preferred" in said, said
        assert "static" in rr.ask("routes").stdout

        write(f"{OTHER} via {BY_HAND}")
        rr.until(lambda: LEAF in installed(rr, PREFIX), "has the route of BGP now")
        assert BY_HAND in installed(rr, OTHER)
        write("10.88.1.21/32 by nobody")
        rr.until(lambda: "line 1: write PREFIX via NEXTHOP" in rr.log, "names the line")
        assert BY_HAND in installed(rr, OTHER)
        write(f"{PREFIX} via {BY_HAND}")
        rr.until(lambda: BY_HAND in installed(rr, PREFIX), "has the route of the file again")
        rr.until(lambda: installed(rr, OTHER) == "", "has forgotten the other one")


if __name__ == "__main__":
    main()
