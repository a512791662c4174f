"""The scenarios of `test_join_method.py`, run as root of a namespace with the name of one and a `bin`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.netns.daemon_world import sh
from tests.support.waiting import PATIENCE
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

DEADLINE = 5.0
"""Seconds that a call of a join method has."""


def joins(rr: Host, leaf: Host) -> None:
    """A leaf joins by its own key, gets its tunnel, exchanges its key, and a stranger stays out."""
    keys = {}
    for name in ("leaf1", "leaf1-new", "stranger"):
        file = Path(f"/run/{name}.pem")
        leaf.write(plugins=["join_ed25519"])
        done = leaf.ask("--plugins", "join_ed25519", "ed25519-key", "--make", str(file))
        assert done.returncode == 0, done.stderr
        keys[name] = done.stdout.strip()
    plugins = ["transport_ipip", "join_ed25519"]
    options = f"joinOptions: {{keys: {{leaf1: ['{keys['leaf1']}'], leaf9: ['{keys['leaf1']}']}}}}"
    rr.write(
        LISTENER,
        REFLECTORS,
        profile(REFLECTOR, "SAMEnrollmentPolicy/leaves"),
        policy("leaves", 1, "joinMethod: ed25519", options),
        plugins=plugins,
    )
    mine = "joinOptions: {privateKeyFile: /run/leaf1.pem}"
    own = (profile(LEAF, "SAMRRSet/leaves"), claim("leaf1", "leaves", 1, "joinMethod: ed25519", mine))
    leaf.write(*own, plugins=plugins)
    assert rr.ask("validate").returncode == 0, rr.ask("validate").stderr
    assert leaf.ask("validate").returncode == 0, leaf.ask("validate").stderr
    with rr.daemon(), leaf.daemon():
        leaf.until(lambda: leaf.accepted("leaf1"), "is accepted")
        assert leaf.membership("leaf1")["phase"] == "Ready"
        (found,) = rr.json("enroll", "list")["items"]
        assert (found["status"]["phase"], found["status"]["method"]) == ("Approved", "ed25519"), found
        assert "joined by" in rr.ask("enroll", "show", "leaf1").stdout
        first = found["spec"]["joinNonce"]

        def tunnel() -> str:
            return sh("ip -n leaf -o -4 address show | grep -o 'inet 10.255[.0-9]*' || true").strip()

        leaf.until(tunnel, "has its tunnel")
        here = tunnel().removeprefix("inet ")
        last = int(here.rpartition(".")[2])
        there = f"{here.rpartition('.')[0]}.{last ^ 1}"
        leaf.until(
            lambda: "1 received" in sh(f"ip netns exec leaf ping -c 1 -W 1 {there} || true"),
            f"reaches {there} through the tunnel",
        )
        # Another key of the leaf: the policy has both for a while, and the leaf takes a new nonce.
        both = options.replace(
            f"leaf1: ['{keys['leaf1']}']", f"leaf1: ['{keys['leaf1']}', '{keys['leaf1-new']}']"
        )
        assert both != options
        rr.config.write_text(rr.config.read_text().replace(options, both))
        assert rr.ask("reload").returncode == 0
        Path("/run/leaf1.pem").rename("/run/leaf1-old.pem")
        Path("/run/leaf1-new.pem").rename("/run/leaf1.pem")
        assert leaf.ask("retry").returncode == 0

        def renewed() -> bool:
            (now,) = rr.json("enroll", "list")["items"]
            return bool(now["spec"]["joinNonce"] != first)

        leaf.until(renewed, "joins by its other key")
        # A stranger who claims to be leaf9 has the code of the plugin, here and in the reflector's log.
        theirs = "joinOptions: {privateKeyFile: /run/stranger.pem}"
        leaf.write(*own, claim("leaf9", "leaves", 2, "joinMethod: ed25519", theirs), plugins=plugins)
        done = leaf.ask("enroll", "submit", "--claim", "leaf9")
        assert done.returncode == 1, done
        assert "ed25519-signature-wrong" in done.stderr, done.stderr
        log = rr.ask("enroll", "log").stdout
        assert "ed25519-signature-wrong" in log, log
        # joinHMAC is not its proof, and the command says what to do instead.
        Path("/run/text").write_text("x")
        for secret in ((), ("--secret-file", "/run/text")):
            done = leaf.ask("enroll", "sign", "--claim", "leaf9", *secret)
            assert done.returncode == 1, done
            assert "joinMethod ed25519 makes no joinHMAC" in done.stderr, done.stderr
            assert "run routerd enroll submit" in done.stderr, done.stderr
        # With the key that the policy has for leaf9 the command fetches a challenge, and the claim joins.
        known = theirs.replace("stranger", "leaf1-old")
        claim9 = claim("leaf9", "leaves", 2, "joinMethod: ed25519", known).replace("10.254.2.2", "10.254.1.9")
        leaf.write(*own, claim9, plugins=plugins)
        done = leaf.ask("enroll", "submit", "--claim", "leaf9")
        assert done.returncode == 0, done
        assert "accepted until" in done.stdout, done


def misbehaves(rr: Host, leaf: Host) -> None:
    """Join methods that break their contract beside healthy ones: these go on, those are named."""
    kinds = ("exits", "cancels", "raises", "hangs", "deaf", "lies", "rude", "late")
    Path("/run/token").write_text("a token\n")
    plugins = ["transport_ipip", "enrollment_token", "misbehaving_join"]
    token = "joinTokenFrom: {file: /run/token}"
    rr.write(
        LISTENER,
        REFLECTORS,
        profile(REFLECTOR, "SAMEnrollmentPolicy/healthy"),
        policy("healthy", 1, token),
        *(policy(kind, number, f"joinMethod: {kind}") for number, kind in enumerate(kinds, 2)),
        plugins=plugins,
    )
    # The leaf's own methods of these kinds sign well; "late" does not start at either end.
    leaf.write(
        claim("healthy", "healthy", 1, token),
        *(claim(kind, kind, number, f"joinMethod: {kind}") for number, kind in enumerate(kinds, 2)),
        plugins=plugins,
    )
    with rr.daemon() as process, leaf.daemon():
        began = time.monotonic()
        leaf.until(lambda: leaf.accepted("healthy"), "joins by the healthy method")
        assert time.monotonic() - began < PATIENCE
        for kind in kinds[:-1]:
            leaf.until(
                lambda kind=kind: leaf.membership(kind)["endpoints"][0]["reason"] == "join-method-failed",
                f"gets the code of {kind}",
            )
            error = leaf.membership(kind)["endpoints"][0]["error"]
            assert "not decided: the join method of the policy failed on the route reflector" in error, error
        assert process.poll() is None
        words = {
            "exits": "SystemExit: 9",
            "cancels": "CancelledError",
            "raises": "ZeroDivisionError: one by none",
            "hangs": f"no answer within {DEADLINE:g} s",
            "deaf": f"no answer within {DEADLINE:g} s",
            "lies": "it returned a bool instead of nothing",
            "rude": "which is not a reason code",
        }
        notes = "\n".join(rr.json("status")["notes"])
        for kind, text in words.items():
            start = f"join method {kind} (plugin misbehaving_join): verify failed: "
            assert start in notes, (kind, notes)
            assert text in notes, (kind, notes)
        log = rr.log
        assert "join.method.failed" in log
        assert all(f"method={kind}" in log for kind in words), log
        late = "join method late (plugin misbehaving_join): start failed: SystemExit: 7"
        assert late in "\n".join(rr.json("status")["reasons"])
        mine = leaf.membership("late")
        assert mine["reason"] == "join-method-failed", mine
        assert late in mine["message"], mine
        # Nobody else was admitted, and a new leaf of the healthy method still is.
        items = rr.json("enroll", "list")["items"]
        assert [each["metadata"]["name"] for each in items] == ["healthy"], items
        leaf.write(claim("other", "healthy", 12, token), plugins=plugins)
        text = leaf.config.read_text().replace("10.254.12.2", "10.254.1.12")
        leaf.config.write_text(text)
        done = leaf.ask("enroll", "submit")
        assert done.returncode == 0, done.stderr
    # Both ended by SIGTERM within their deadline, although one call is deaf and one method does not close.
    assert "join method hangs (plugin misbehaving_join): aclose failed: no answer within 8 s" in rr.log
    assert "join method exits (plugin misbehaving_join): aclose failed: SystemExit: 8" in rr.log
    assert "task.left" in rr.log


def main() -> None:
    """Run one scenario."""
    scenario, place = sys.argv[1:]
    prepare()
    scenarios = {"joins": joins, "misbehaves": misbehaves}
    rr, leaf = (
        Host(name=name, node=node, bin=Path(place)) for name, node in (("rr", "rr"), ("leaf", "leaf1"))
    )
    scenarios[scenario](rr, leaf)


if __name__ == "__main__":
    main()
