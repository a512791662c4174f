"""The acceptance test: the four-site fabric from the examples, on five real daemons, and its troubles."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.netns.lab_world import (
    ROUTERD,
    Lab,
    assert_passed,
    failing,
    run,
    run_directory,
    standing_lab,
)
from tests.support.waiting import until

NOBODY = 65534

pytestmark = [
    pytest.mark.netns,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("sshd") is None, reason="needs openssh-server"),
    pytest.mark.skipif(shutil.which("wireguard-go") is None, reason="needs wireguard-go"),
]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    with run_directory(tmp_path) as directory:
        yield directory


@pytest.fixture
def lab(place: Path) -> Iterator[Lab]:
    with standing_lab(place) as standing:
        yield standing


def test_one_command_proves_the_fabric_and_leaves_nothing_behind(place: Path) -> None:
    before = subprocess.run(["ip", "link"], capture_output=True, check=True).stdout
    verdict = assert_passed(run("lab", "run", "fullmesh", "--json", "--run-dir", str(place)))
    assert failing(verdict) == set()
    assert len(verdict["pairs"]) == 12
    assert verdict["seconds"] < 60
    assert subprocess.run(["ip", "link"], capture_output=True, check=True).stdout == before
    left = subprocess.run(["pgrep", "-f", str(place)], capture_output=True, text=True, check=False).stdout
    assert left == ""
    _assert_evidence(Path(str(verdict["tarball"])), str(verdict["sha256"]))


def test_three_kinds_of_tunnels_make_one_fabric(place: Path) -> None:
    verdict = assert_passed(run("lab", "run", "mixed", "--json", "--run-dir", str(place)))
    assert failing(verdict) == set()
    links = (place / "evidence" / "links.txt").read_text()
    for name, mtu in (("sam-transport-fullmesh", 1400), ("wan-fou", 1472), ("wan-gre", 1472)):
        assert any(name in line and f"mtu {mtu}" in line for line in links.splitlines()), links


def _assert_evidence(tarball: Path, sha256: str) -> None:
    shown = subprocess.run(["sha256sum", str(tarball)], capture_output=True, text=True, check=True).stdout
    assert shown.split()[0] == sha256
    with tarfile.open(tarball) as bundle:
        names = {Path(name).name for name in bundle.getnames()}
        texts = [
            (bundle.extractfile(member) or pytest.fail(member.name)).read().decode(errors="replace")
            for member in bundle.getmembers()
            if member.isfile()
        ]
    assert {
        "node-by-node-config-explanation.md",
        "pre-deploy-config-boundary-check.txt",
        "convergence-status.txt",
        "client-matrix.txt",
        "assertions.txt",
        "links.txt",
        "final-routerd-status.txt",
        "provider-routing-summary.txt",
        "routerd-fullmesh-rr.yaml",
    } <= names, names
    nodes = tarball.parent / "nodes"
    secrets = [path.read_text().strip() for path in nodes.rglob("secrets/*") if path.is_file()]
    assert len(secrets) >= 10, "the secrets of the run were not found, so nothing was proven"
    assert not [secret for secret in secrets for text in texts if secret in text]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else to prove this")
def test_it_needs_no_privilege(place: Path) -> None:
    command = ["unshare", "-m", "sh", "-c", f'{_usual_host()} && exec "$@"', "sh"]
    command += ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", ROUTERD]
    done = subprocess.run(
        [*command, "lab", "run", "fullmesh", "--json", "--run-dir", str(place)],
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
        env={**os.environ, "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert_passed(done)


def _usual_host() -> str:
    """Return commands that make, in a mount namespace, what an unprivileged user finds on a usual host.

    That is a /dev/net/tun that everybody may open (udev's default), and a Python outside of root's home.
    """
    steps = ["mount -t tmpfs none /dev/net", "mknod -m 666 /dev/net/tun c 10 200"]
    home = next((path for path in Path(sys.base_prefix).parents if not path.stat().st_mode & 0o001), None)
    if home is not None:
        base = sys.base_prefix
        steps += [f"mount --bind {base} /mnt", f"mount -t tmpfs -o mode=755 none {home}"]
        steps += [f"mkdir -p {base}", f"mount --bind /mnt {base}"]
    return " && ".join(steps)


def test_restarts_lose_no_packet_and_nothing_is_forgotten(lab: Lab) -> None:
    until(lambda: lab.ready("aws-leaf"))
    enter = [ROUTERD, "lab", "exec", "--run-dir", str(lab.place), "aws-client", "--"]
    ping = [*enter, "ping", "-q", "-i", "0.05", "10.99.9.10"]
    pinging = subprocess.Popen(ping, stdout=subprocess.PIPE, text=True)
    started = []
    try:
        # A leaf is killed: the next daemon adopts what stands.
        lab.end_daemon("aws-leaf", signal.SIGKILL)
        started.append(lab.start_daemon("aws-leaf"))
        until(lambda: lab.ready("aws-leaf"))
        # The reflector's daemon is away while a leaf starts anew: the leaf comes up from what it kept.
        lab.end_daemon("routerd-fullmesh-rr", signal.SIGTERM)
        lab.end_daemon("pve-leaf", signal.SIGKILL)
        started.append(lab.start_daemon("pve-leaf"))
        until(lambda: "sessions" in lab.status("pve-leaf") and _established(lab.status("pve-leaf")) == 1)
        reasons = " ".join(map(str, lab.status("pve-leaf")["reasons"]))
        assert "203.0.113.147" in reasons, reasons
        # It returns and knows every leaf, without any of them doing anything.
        started.append(lab.start_daemon("routerd-fullmesh-rr"))
        until(lambda: lab.ready("routerd-fullmesh-rr"))
        assert len(lab.status("routerd-fullmesh-rr")["claims"]) == 4
        # Its speaker is killed too: every session breaks, and the routes of all leaves stay.
        before = _up_since(lab.status("aws-leaf"))
        lab.kill_speaker("routerd-fullmesh-rr")
        until(lambda: bool(_up_since(lab.status("aws-leaf")) - before))
        until(lambda: _established(lab.status("routerd-fullmesh-rr")) == 4)
        until(lambda: lab.ready("routerd-fullmesh-rr") and lab.ready("aws-leaf"))
    finally:
        lab.execute("aws-client", "pkill", "-INT", "-x", "ping")
        said = pinging.communicate(timeout=300)[0]
    assert ", 0% packet loss" in said, said
    lab.judged()
    for machine in ("aws-leaf", "pve-leaf", "routerd-fullmesh-rr"):
        lab.end_daemon(machine, signal.SIGTERM)
    for process in started:
        process.wait(timeout=300)


def _up_since(status: dict[str, object]) -> set[str]:
    """Return since when each session is up; of one that is not up, nothing."""
    return {session["since"] for session in status["sessions"] if session["state"] == "established"}


def _established(status: dict[str, object]) -> int:
    return sum(session["state"] == "established" for session in status["sessions"])


def test_down_on_a_leaf_removes_what_is_ours_and_undoes_the_cloud(lab: Lab) -> None:
    until(lambda: lab.ready("azure-leaf"))
    routes = lab.execute("azure-leaf", "ip", "route").stdout
    assert "proto 147" in routes
    lab.end_daemon("azure-leaf", signal.SIGTERM)
    assert lab.execute("azure-leaf", "ip", "route").stdout == routes
    authority = str(lab.place / "tls" / "ca.pem")
    done = lab.execute(
        "azure-leaf", "env", f"SSL_CERT_FILE={authority}", f"REQUESTS_CA_BUNDLE={authority}",
        ROUTERD, "down", "--config", str(lab.place / "configs" / "azure-leaf.yaml"),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    left = lab.execute("azure-leaf", "sh", "-c", "ip route; ip link; nft list ruleset; iptables-save")
    assert "147" not in left.stdout
    assert "samt" not in left.stdout
    assert "wg-sam" not in left.stdout
    assert "routerd" not in left.stdout
    assert lab.execute("azure-leaf", "cat", "/proc/sys/net/ipv4/ip_forward").stdout.strip() == "0"
    held = json.loads((lab.place / "sites" / "azure.json").read_text())
    assert [port["forwarding"] for port in held["ports"] if port["address"] == "10.82.10.10"] == [False]
    assert held["tables"]
    assert all(list(table) == ["0.0.0.0/0"] for table in held["tables"].values())
    after = run("lab", "status", "--json", "--run-dir", str(lab.place))
    verdict = json.loads(after.stdout)
    assert after.returncode == 1
    cut_off = failing(verdict)
    assert len(cut_off) == 6
    assert all("azure-client" in pair for pair in cut_off)


def test_every_command_says_what_is(lab: Lab) -> None:
    until(lambda: lab.ready("routerd-fullmesh-rr") and lab.ready("oci-leaf"))

    def ask(machine: str, *command: str) -> object:
        done = lab.execute(machine, ROUTERD, *command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return json.loads(done.stdout)

    sessions = ask("routerd-fullmesh-rr", "peers", "--json")["sessions"]
    assert {each["leaf"] for each in sessions} == {"aws-leaf", "azure-leaf", "oci-leaf", "pve-leaf"}
    assert [(each["state"], each["accepted"], each["rejected"]) for each in sessions] == [
        ("established", 1, {})
    ] * 4
    peers = ask("routerd-fullmesh-rr", "peers", "--json")["encryptedPeers"]
    assert all(each["alive"] for each in peers)
    assert "192.0.2.200" in {each["endpoint"].partition(":")[0] for each in peers}, "the home's NAT address"
    routes = ask("oci-leaf", "routes", "--json")["items"]
    assert {route["prefix"] for route in routes} == {"10.81.10.20/32", "10.82.10.20/32", "10.99.9.10/32"}
    assert all(route["installed"] for route in routes)
    assert ask("oci-leaf", "routes", "--rejected", "--json")["items"] == []
    dynamic = ask("routerd-fullmesh-rr", "get", "BGPDynamicPeer/fullmesh-leaves", "-o", "json")
    assert dynamic["status"]["discoveredPeerCount"] == 4
    assert dynamic["status"]["phase"] == "Ready"
    assert len(ask("routerd-fullmesh-rr", "get", "SAMEnrollmentClaim", "-o", "json")["items"]) == 4
    config = str(lab.place / "configs" / "oci-leaf.yaml")
    planned = lab.execute("oci-leaf", ROUTERD, "plan", "--config", config)
    assert (planned.returncode, planned.stdout.strip()) == (0, "nothing to change"), (
        planned.stdout + planned.stderr
    )
    listed = {
        each["name"]: each for each in ask("oci-leaf", "plugins", "--config", config, "--json")["plugins"]
    }
    assert listed["cloud_oci"]["provides"] == ["cloud oci"]
    assert listed["bgp_ryu"]["api"] == "1.0"
    assert not listed["cloud_aws"]["enabled"]
    remote = ask("oci-leaf", "explain", "10.81.10.20", "--json")
    seen = {step["title"]: step["state"] for step in remote["steps"]}
    assert seen.pop("ours") == "note"
    titles = {"session", "bgp", "decision", "route", "kernel", "tunnel", "wireguard", "cloud oci"}
    assert seen == dict.fromkeys(titles, "ok"), remote
    assert remote["verdict"].endswith("; everything is in place"), remote
    client = ask("routerd-fullmesh-rr", "explain", "10.83.10.20", "--json")
    said = {step["title"]: (step["state"], step["text"]) for step in client["steps"]}
    assert said["claim"][0] == "ok"
    assert "SAMEnrollmentClaim/oci-leaf of leaf oci-leaf" in said["claim"][1]
    assert {said[title][0] for title in titles - {"cloud oci"}} == {"ok"}, client
    assert "(oci-leaf) by samt" in client["verdict"]
    nobodys = lab.execute("oci-leaf", ROUTERD, "explain", "10.81.10.99")
    assert (nobodys.returncode, nobodys.stderr) == (1, "")
    assert nobodys.stdout.endswith("\n10.81.10.99 is not reachable: no neighbour announces it\n"), (
        nobodys.stdout
    )
    assert "BAD" in nobodys.stdout
    for command in ("status", "peers", "routes", "get all", "explain 10.83.10.20"):
        shown = lab.execute("oci-leaf", ROUTERD, *command.split())
        assert (shown.returncode, shown.stderr) == (0, ""), command
        assert shown.stdout.strip()


CHECK_AGAIN = """
import boto3
ec2 = boto3.client("ec2", region_name="ap-northeast-1")
ec2.modify_network_interface_attribute(NetworkInterfaceId="{nic}", SourceDestCheck={{"Value": True}})
"""
DELETE_ROUTE = """
from azure.identity import ManagedIdentityCredential
from azure.mgmt.network import NetworkManagementClient
table = "{table}".split("/")
client = NetworkManagementClient(ManagedIdentityCredential(), table[2])
for route in client.routes.list(table[4], table[-1]):
    if route.address_prefix == "10.99.9.10/32":
        client.routes.begin_delete(table[4], table[-1], route.name).result()
"""


def both_ways(*ends: str) -> set[tuple[str, str]]:
    """Return the pairs of two clients, or of one with all others."""
    clients = [f"{site}-client" for site in ("aws", "azure", "oci", "pve")]
    first, others = f"{ends[0]}-client", [f"{end}-client" for end in ends[1:]] or clients
    return {pair for other in others if other != first for pair in ((first, other), (other, first))}


def test_a_control_taken_away_cuts_exactly_its_pairs_and_a_retry_gives_it_back(lab: Lab) -> None:
    for machine in ("aws-leaf", "azure-leaf", "oci-leaf", "pve-leaf"):
        until(lambda machine=machine: lab.ready(machine))
    authority = str(lab.place / "tls" / "ca.pem")
    trusting = [
        "env",
        *(f"{name}={authority}" for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")),
    ]

    def sdk(machine: str, script: str) -> None:
        done = lab.execute(machine, *trusting, sys.executable, "-c", script)
        assert done.returncode == 0, done.stderr

    aws, azure = (lab.status(machine)["fabrics"][0] for machine in ("aws-leaf", "azure-leaf"))
    ours = "iptables -S FORWARD | grep routerd | sed 's/^-A/-D/'"
    forward = f"{ours} | while read -r rule; do eval iptables $rule; done"

    def reject_forwarded() -> None:
        # The kernel announces it, and a daemon that runs has mended it before anybody can look.
        lab.signal("oci-leaf", signal.SIGSTOP)
        assert lab.execute("oci-leaf", "sh", "-c", forward).returncode == 0

    cases = {
        "aws-leaf": (
            lambda: sdk("aws-leaf", CHECK_AGAIN.format(nic=aws["nics"][0]["ref"])),
            both_ways("aws"),
        ),
        "azure-leaf": (
            lambda: sdk("azure-leaf", DELETE_ROUTE.format(table=azure["routeTables"][0])),
            both_ways("azure", "pve"),
        ),
        "oci-leaf": (reject_forwarded, both_ways("oci")),
        "pve-leaf": (
            lambda: lab.execute("pve-client", "ip", "route", "del", "10.81.10.20"),
            both_ways("pve", "aws"),
        ),
    }
    for machine, (take_away, expected) in cases.items():
        take_away()
        verdict = json.loads(run("lab", "status", "--json", "--run-dir", str(lab.place)).stdout)
        assert failing(verdict) == expected, machine
        lab.signal(machine, signal.SIGCONT)
        done = lab.execute(machine, ROUTERD, "retry")
        assert done.returncode == 0, done.stderr
        until(lambda: failing(json.loads(_status_of(lab))) == set())
    lab.judged()


def _status_of(lab: Lab) -> str:
    return run("lab", "status", "--json", "--run-dir", str(lab.place)).stdout
