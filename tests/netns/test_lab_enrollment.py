"""Enrollment in the running fabric: tokens exchanged, leaves revoked and let back in, a state file lost."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.netns.lab_world import ROUTERD, Lab, run, run_directory, standing_lab
from tests.support.waiting import until

pytestmark = [
    pytest.mark.netns,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("sshd") is None, reason="needs openssh-server"),
    pytest.mark.skipif(shutil.which("wireguard-go") is None, reason="needs wireguard-go"),
]

RR = "routerd-fullmesh-rr"
SECRETS = "/etc/routerd/secrets"
TOKEN = f"joinTokenFrom: {{file: {SECRETS}/join-token}}"
NEXT = f"joinTokenFrom: {{file: {SECRETS}/next-token}}"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with run_directory(tmp_path) as place, standing_lab(place) as standing:
        yield standing


def ask(lab: Lab, machine: str, *command: str) -> str:
    done = lab.execute(machine, ROUTERD, *command)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def sessions(lab: Lab) -> dict[str, str]:
    """Return since when the session with each leaf has been up."""
    found = json.loads(ask(lab, RR, "peers", "--json"))["sessions"]
    return {each["leaf"]: each["since"] for each in found if each["state"] == "established"}


def decisions(lab: Lab, claim: str) -> list[str]:
    trail = json.loads(ask(lab, RR, "enroll", "log", "--claim", claim, "--json"))
    return [each["decision"] for each in trail["items"]]


def state_of(lab: Lab, claim: str) -> str:
    listed = json.loads(ask(lab, RR, "enroll", "list", "--json"))
    return next(str(each["status"]["phase"]) for each in listed["items"] if each["metadata"]["name"] == claim)


def write_secret(lab: Lab, machine: str, name: str, text: str) -> None:
    done = lab.execute(machine, "sh", "-c", f"umask 077; echo {text} > {SECRETS}/{name}")
    assert done.returncode == 0, done.stderr


def reconfigure(lab: Lab, old: str, new: str) -> None:
    """Change the reflector's file and have its daemon read it."""
    file = lab.place / "configs" / f"{RR}.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    ask(lab, RR, "reload")


def failing(lab: Lab) -> set[str]:
    verdict = json.loads(run("lab", "status", "--json", "--run-dir", str(lab.place)).stdout)
    return {f"{e['source']}>{e['target']}" for e in verdict["pairs"] if not (e["ping"] and e["ssh"])}


def test_tokens_are_exchanged_and_leaves_come_and_go_without_disturbing_the_others(lab: Lab) -> None:
    until(lambda: all(lab.ready(each) for each in (RR, "aws-leaf", "pve-leaf", "oci-leaf")))
    before = sessions(lab)
    assert len(before) == 4

    # The token is exchanged: two hold, a leaf gets the new one, the old one goes.
    write_secret(lab, RR, "next-token", "a-new-token")
    reconfigure(lab, TOKEN, f"{NEXT}\n        joinTokensFrom: [{{file: {SECRETS}/join-token}}]")
    write_secret(lab, "aws-leaf", "join-token", "a-new-token")
    ask(lab, "aws-leaf", "retry")
    until(lambda: decisions(lab, "aws-leaf") == ["admitted", "renewed"])
    reconfigure(lab, f"\n        joinTokensFrom: [{{file: {SECRETS}/join-token}}]", "")

    # Approval is asked for from now on: who holds a claim renews it, and nobody has to look at that.
    reconfigure(lab, NEXT, f"{NEXT}\n        approval: manual")
    write_secret(lab, "pve-leaf", "join-token", "a-new-token")
    ask(lab, "pve-leaf", "retry")
    until(lambda: decisions(lab, "pve-leaf") == ["admitted", "renewed"])
    assert sessions(lab) == before, "a session was reset"

    # A leaf is revoked: its session, its routes and its pairs go, and whatever it signs, it stays out.
    write_secret(lab, "oci-leaf", "join-token", "a-new-token")
    ask(lab, RR, "enroll", "revoke", "oci-leaf", "--reason", "stolen")
    until(lambda: "oci-leaf" not in sessions(lab))
    until(lambda: "10.83.10.20" not in lab.execute("aws-leaf", "ip", "route").stdout)
    ask(lab, "oci-leaf", "retry")
    until(lambda: "claim-revoked" in ask(lab, RR, "enroll", "log", "--claim", "oci-leaf", "--json"))
    assert state_of(lab, "oci-leaf") == "Revoked"
    assert "was revoked" in str(lab.status("oci-leaf")["reasons"])
    cut_off = failing(lab)
    assert len(cut_off) == 6
    assert all("oci-client" in pair for pair in cut_off)

    # Somebody lets it back in, and it comes with a claim that it signs anew.
    ask(lab, RR, "enroll", "approve", "oci-leaf", "--reason", "found again")
    ask(lab, "oci-leaf", "retry")
    until(lambda: state_of(lab, "oci-leaf") == "Approved")
    until(lambda: lab.ready(RR) and lab.ready("oci-leaf"))
    until(lambda: not failing(lab))
    after = sessions(lab)
    assert {leaf: since for leaf, since in after.items() if leaf != "oci-leaf"} == {
        leaf: since for leaf, since in before.items() if leaf != "oci-leaf"
    }
    assert decisions(lab, "oci-leaf")[0] == "admitted"
    assert decisions(lab, "oci-leaf")[-1] == "admitted"


def test_a_reflector_whose_state_file_is_damaged_gets_every_leaf_back(lab: Lab) -> None:
    until(lambda: lab.ready(RR))
    ask(lab, RR, "enroll", "revoke", "oci-leaf", "--reason", "stolen")
    lab.end_daemon(RR, signal.SIGKILL)
    harm = "for f in /var/lib/routerd/routerd.db*; do head -c 20000 /dev/zero > $f; done"
    assert lab.execute(RR, "sh", "-c", harm).returncode == 0
    process = lab.start_daemon(RR)
    try:
        until(lambda: lab.status(RR)["phase"] != "")
        links = lab.execute(RR, "ip", "-o", "link").stdout
        assert links.count("samt") == 3, "tunnels of leaves were removed before they could enroll again"
        for leaf in ("aws-leaf", "azure-leaf", "pve-leaf", "oci-leaf"):
            ask(lab, leaf, "retry")
        until(lambda: len(sessions(lab)) == 3)
        status = lab.status(RR)
        assert "the state file was damaged" in str(status["reasons"])
        assert any("is set aside as" in note for note in status["notes"]), status["notes"]
        # Who was revoked is the one thing that no leaf tells.
        until(lambda: "claim-revoked" in ask(lab, RR, "enroll", "log", "--claim", "oci-leaf", "--json"))
        until(lambda: {pair for pair in failing(lab) if "oci-client" not in pair} == set())
    finally:
        lab.end_daemon(RR, signal.SIGTERM)
        process.wait(timeout=300)
