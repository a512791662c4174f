"""The scenario of `test_encrypting.py`, run as root of a namespace with the `bin` of the environment."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.netns.daemon_world import sh
from tests.thirdparty.join_world import LEAF, REFLECTOR, Host, prepare

EXAMPLES = Path(__file__).parents[2] / "examples"
PLUGINS = "plugins: [transport_ipip, transport_wireguard, bgp_ryu, enrollment_token]"
KEY = "REPLACE-WITH-THE-PUBLIC-KEY-OF-wg-sam"
CLIENT = "10.80.1.20"


def write(host: Host, example: str, mode: str = "shroud") -> str:
    """Write an example's file with the stranger's encryption; return the public key."""
    secrets = Path(f"/run/{host.name}.secrets")
    secrets.mkdir(mode=0o700, exist_ok=True)
    (secrets / "join-token").write_text("a token\n")
    (secrets / "join-token").chmod(0o600)
    key = secrets / "wg-sam.key"
    host.config.write_text("")
    made = host.ask("--plugins", "transport_shroud", "shroud-key", str(key))
    assert made.returncode == 0, made.stderr
    text = (EXAMPLES / example).read_text()
    for old, new in (
        (PLUGINS, PLUGINS.replace("transport_wireguard", "transport_shroud")),
        ("encryption: wireguard", f"encryption: {mode}"),
        ("        listenPort: 51820\n", f"        listenPort: 51820\n        mode: {mode}\n"),
        ("/var/lib/routerd/secrets", str(secrets)),
        ("/etc/routerd/secrets", str(secrets)),
        (KEY, made.stdout.strip()),
    ):
        assert old in text, old
        text = text.replace(old, new)
    host.config.write_text(text)
    done = host.ask("validate")
    assert done.returncode == 0, done.stderr
    return made.stdout.strip()


def established(host: Host) -> bool:
    """Say whether a router is ready with one session."""
    status = host.json("status")
    return status["phase"] == "Ready" and [each["state"] for each in status["sessions"]] == ["established"]


def reaches(host: Host, there: str) -> bool:
    """Say whether a host gets an answer from an address."""
    return "1 received" in sh(f"ip netns exec {host.name} ping -c 1 -W 1 {there} || true")


def carries(rr: Host, leaf: Host) -> None:
    """Two daemons enroll, encrypt, tunnel and speak BGP by the stranger's transport."""
    keys = {leaf.name: write(leaf, "leaf.yaml"), rr.name: write(rr, "rr.yaml")}
    sh(f"ip -n leaf address add {CLIENT}/32 dev lo")
    with rr.daemon():
        with leaf.daemon():
            for host in (rr, leaf):
                host.until(lambda host=host: established(host), "is ready with one session")
            rr.until(lambda: reaches(rr, CLIENT), f"reaches {CLIENT} of the leaf")
            for host, far, where in ((rr, leaf, LEAF), (leaf, rr, REFLECTOR)):
                shown(host, keys[far.name], where)
            steps = {each["title"]: each for each in rr.json("explain", CLIENT)["steps"]}
            assert steps["shroud"]["state"] == "ok", steps
            assert f"peer {keys[leaf.name][:8]}" in steps["shroud"]["text"], steps
            assert {each["state"] for each in steps.values()} <= {"ok", "note"}, steps
            nothing_in_clear(rr, leaf)
            index = device(leaf)
        # The program goes on without its daemon, and the next daemon takes it over.
        assert reaches(rr, CLIENT)
        with leaf.daemon():
            leaf.until(lambda: established(leaf), "is ready again")
            assert device(leaf) == index
            assert reaches(rr, CLIENT)
        done = leaf.ask("down")
        assert done.returncode == 0, done.stderr
        assert "wg-sam" not in sh("ip -n leaf link show")


def device(host: Host) -> str:
    """Return the index of the encrypting device, which another device would not have."""
    return sh(f"ip -n {host.name} -o link show wg-sam").split(":")[0]


def shown(host: Host, key: str, where: str) -> None:
    """Status, peers, metrics and explain show device and peer like those of the built-in."""
    status = host.json("status")
    (tunnel,) = [each for each in status["tunnels"] if each["link"] == "wg-sam"]
    assert (tunnel["backend"], tunnel["up"]) == ("shroud-box", True), tunnel
    assert tunnel["rxBytes"] > 0, tunnel
    tables = {each["name"] for each in status["tables"]}
    assert {"tunnels/shroud", "peers/shroud"} <= tables, tables
    (peer,) = host.json("peers")["encryptedPeers"]
    assert peer["mode"] == "shroud", peer
    assert (peer["publicKey"], peer["alive"], peer["endpoint"]) == (key, True, f"{where}:51820"), peer
    assert peer["rxBytes"] > 0, peer
    assert key[:8] in host.ask("peers").stdout
    metrics = host.ask("metrics").stdout
    assert 'routerd_tunnel_up{backend="shroud-box",link="wg-sam"} 1.0' in metrics, metrics
    assert key in metrics, metrics


def nothing_in_clear(rr: Host, leaf: Host) -> None:
    """A ping's payload is on no wire between the two."""
    capture = (
        "import socket, sys, time\n"
        "tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))\n"
        "tap.bind(('wan0', 0)); tap.settimeout(0.5)\n"
        "sys.stdout.write('ready\\n'); sys.stdout.flush()\n"
        "seen, until = [], time.monotonic() + 3\n"
        "while time.monotonic() < until:\n"
        "    try: seen.append(tap.recv(65536))\n"
        "    except TimeoutError: pass\n"
        "print(len(seen), sum(b'\\xab' * 24 in each for each in seen))\n"
    )
    Path("/run/capture.py").write_text(capture)
    said = sh(
        f"ip netns exec {leaf.name} {sys.executable} /run/capture.py > /run/seen & "
        "while ! grep -q ready /run/seen 2>/dev/null; do :; done; "
        f"ip netns exec {rr.name} ping -c 3 -i 0.2 -p ab {CLIENT}; wait; cat /run/seen"
    )
    frames, clear = map(int, said.splitlines()[-1].split())
    assert frames >= 6, said
    assert clear == 0, said


def refuses(rr: Host) -> None:
    """A key that no claim can carry is refused in words, and nothing is made of it."""
    write(rr, "rr.yaml", "largekey")
    with rr.daemon():
        words = "transport largekey: its public key is"
        rr.until(lambda: any(words in each for each in rr.json("status")["reasons"]), "says so")
        (reason,) = [each for each in rr.json("status")["reasons"] if words in each]
        assert "a claim carries keys of 32 bytes in base64 and no others; use a transport with such keys" in (
            reason
        ), reason
        assert "wg-sam" not in sh("ip -n rr link show")


def main() -> None:
    """Run the scenario that the first argument names."""
    prepare()
    places = (("rr", "rr1"), ("leaf", "leaf1"))
    rr, leaf = (Host(name=name, node=node, bin=Path(sys.argv[2])) for name, node in places)
    if sys.argv[1] == "carries":
        carries(rr, leaf)
    else:
        refuses(rr)


if __name__ == "__main__":
    main()
