"""The scenarios of `test_upgrade.py`, as root of a namespace: a name, and the `bin` of then and of now."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.netns.daemon_world import sh
from tests.thirdparty.join_world import Host, prepare

EXAMPLES = Path(__file__).parents[2] / "examples"
KEY = "REPLACE-WITH-THE-PUBLIC-KEY-OF-wg-sam"
CLIENT = "10.80.1.20"


def write(host: Host, example: str) -> None:
    """Write an example's file, as both programs read it, with a key of this host.

    The devices have different names, because wireguard-go keeps the sockets of all hosts in one directory.
    """
    secrets = Path(f"/run/{host.name}.secrets")
    secrets.mkdir(mode=0o700)
    key = subprocess.run(["wg", "genkey"], capture_output=True, text=True, check=True).stdout
    public = subprocess.run(["wg", "pubkey"], input=key, capture_output=True, text=True, check=True).stdout
    for name, text in ((f"wg-{host.name}.key", key), ("join-token", "a token\n")):
        (secrets / name).write_text(text)
        (secrets / name).chmod(0o600)
    text = (EXAMPLES / example).read_text().replace(KEY, public.strip())
    for place in ("/var/lib/routerd/secrets", "/etc/routerd/secrets"):
        text = text.replace(place, str(secrets))
    host.config.write_text(text.replace("wg-sam", f"wg-{host.name}"))


def joined(host: Host) -> bool:
    """Say whether a router is ready with one session."""
    status = host.json("status")
    return status["phase"] == "Ready" and [each["state"] for each in status["sessions"]] == ["established"]


def works(rr: Host, leaf: Host) -> None:
    """Wait until both are ready and a packet crosses the fabric."""
    for host in (rr, leaf):
        host.until(lambda host=host: joined(host), "is ready with one session")
    rr.until(
        lambda: "1 received" in sh(f"ip netns exec {rr.name} ping -c 1 -W 1 {CLIENT} || true"),
        f"reaches {CLIENT} of the leaf",
    )


def claim(rr: Host) -> dict[str, Any]:
    """Return the claim that the reflector holds."""
    (found,) = rr.json("enroll", "list")["items"]
    assert found["status"]["phase"] == "Approved", found
    spec: dict[str, Any] = found["spec"]
    return spec


def forget(leaf: Host) -> None:
    """Take everything of a leaf away, as if its host were new."""
    done = leaf.ask("down")
    assert done.returncode == 0, done.stderr
    shutil.rmtree(f"/var/lib/{leaf.name}")
    shutil.rmtree(f"/run/{leaf.name}.d", ignore_errors=True)


def reflector(rr: Host, leaf: Host, now: Path) -> None:
    """The reflector is upgraded first: it knows its leaf at once, and a new leaf of then joins it."""
    with rr.daemon(), leaf.daemon():
        works(rr, leaf)
        before = claim(rr)
    rr.bin = now
    with rr.daemon():
        # No leaf runs that could have told it.
        assert claim(rr) == before
        with leaf.daemon():
            works(rr, leaf)
    forget(leaf)
    with rr.daemon():
        with leaf.daemon():
            works(rr, leaf)
        assert claim(rr)["joinNonce"] != before["joinNonce"], "the leaf has not joined again"


def leaf_first(rr: Host, leaf: Host, now: Path) -> None:
    """The leaf is upgraded first: it comes up from what it kept, and joins one of then from nothing."""
    with rr.daemon(), leaf.daemon():
        works(rr, leaf)
        before = claim(rr)
    # As after a boot, and without any reflector: what the leaf makes, it makes of its state file.
    sh(f"ip -n {leaf.name} link delete wg-{leaf.name}")
    leaf.bin = now
    with leaf.daemon():
        leaf.until(lambda: peers(leaf) == 1, "makes the peer that it knew")
        leaf.until(lambda: len(leaf.json("status")["tunnels"]) == 2, "makes both tunnels")
        with rr.daemon():
            works(rr, leaf)
            assert claim(rr)["wireGuard"] == before["wireGuard"]
    with rr.daemon():
        forget(leaf)
        with leaf.daemon():
            works(rr, leaf)
            assert claim(rr)["joinNonce"] != before["joinNonce"], "the leaf has not joined again"


def peers(host: Host) -> int:
    """Return how many peers the device of a host has."""
    found = host.json("peers")
    # An earlier routerd calls them by the one transport that it knew.
    return len(found["encryptedPeers"] if "encryptedPeers" in found else found["wireguard"])


def main() -> None:
    """Run the scenario that the first argument names."""
    prepare()
    then, now = (Path(each) for each in sys.argv[2:])
    sh("mkdir -p /var/run/wireguard")
    rr, leaf = (Host(name=name, node=node, bin=then) for name, node in (("rr", "rr1"), ("leaf", "leaf1")))
    write(rr, "rr.yaml")
    write(leaf, "leaf.yaml")
    sh(f"ip -n leaf address add {CLIENT}/32 dev lo")
    {"reflector": reflector, "leaf": leaf_first}[sys.argv[1]](rr, leaf, now)


if __name__ == "__main__":
    main()
