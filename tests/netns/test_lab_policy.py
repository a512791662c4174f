"""A policy on the reflector of the four sites: its tests, the kernel's rules and packets agree."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from itertools import permutations
from pathlib import Path

import pytest
import yaml
from tests.netns.lab_world import ROUTERD, Lab, run_directory, standing_lab
from tests.support.waiting import until

pytestmark = [
    pytest.mark.netns,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("sshd") is None, reason="needs openssh-server"),
    pytest.mark.skipif(shutil.which("wireguard-go") is None, reason="needs wireguard-go"),
]

RR = "routerd-fullmesh-rr"
CLIENTS = {"aws": "10.81.10.20", "azure": "10.82.10.20", "oci": "10.83.10.20", "pve": "10.99.9.10"}
SERVICES = ("icmp", "tcp/22", "udp/4000")
# The last rule rejects, so that each probe has an answer and none waits for a time-out.
RULES = [
    {
        "name": "ssh",
        "from": "leaf:aws-leaf",
        "to": "offices",
        "protocol": "tcp",
        "ports": 22,
        "action": "accept",
    },
    {"name": "ping", "to": "leaf:pve-leaf", "protocol": "icmp", "action": "accept"},
    {
        "name": "from-home",
        "from": "10.99.9.0/24",
        "to": ["leaf:azure-leaf", "10.83.10.20"],
        "action": "accept",
    },
    {"name": "rest", "action": "reject"},
]
OPEN = {
    *(("aws", other, "tcp/22") for other in ("azure", "oci")),
    *((other, "pve", "icmp") for other in ("aws", "azure", "oci")),
    *(("pve", other, service) for other in ("azure", "oci") for service in SERVICES),
}
# It prints one word: `passes` for any answer of the client, also that nobody listens there.
PROBE = """
import contextlib, errno, socket, subprocess, sys
target, service = sys.argv[1:]
kind, _, port = service.partition("/")
if kind == "icmp":
    done = subprocess.run(["ping", "-c1", "-w9", target], capture_output=True, text=True)
    filtered = "Packet filtered" in done.stdout
    print("passes" if done.returncode == 0 else "rejected" if filtered else done.stdout)
else:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    # A kernel sends few ICMP errors a second to one host, so a datagram is repeated as TCP repeats its SYN.
    sock.settimeout(1 if kind == "udp" else 60)
    try:
        sock.connect((target, int(port)))
        answered = kind == "tcp"
        for _ in range(60):
            if not answered:
                sock.send(b"anybody?")
                with contextlib.suppress(TimeoutError):
                    sock.recv(1)
                    answered = True
        print("passes" if answered else "no answer")
    except ConnectionRefusedError:
        print("passes")
    except OSError as error:
        print("rejected" if error.errno == errno.EHOSTUNREACH else error)
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with run_directory(tmp_path) as place, standing_lab(place) as standing:
        yield standing


def with_policy(text: str, **changes: object) -> str:
    """Return the reflector's file with a policy; `changes` are fields of its spec."""
    document = yaml.safe_load(text)
    document["plugins"].append("fabric_policy")
    tests = [
        f"{CLIENTS[here]} {'reaches' if (here, there, service) in OPEN else 'does not reach'} "
        f"{CLIENTS[there]} by {service}"
        for here, there in permutations(CLIENTS, 2)
        for service in SERVICES
    ]
    spec = {
        "sets": {"offices": ["10.82.10.0/24", "10.83.10.20"]},
        "rules": RULES,
        "default": "drop",
        "tests": tests,
    }
    resource = {
        "apiVersion": "policy.routerd.net/v1alpha1",
        "kind": "FabricPolicy",
        "metadata": {"name": "inside"},
        "spec": spec | changes,
    }
    document["spec"]["resources"].append(resource)
    return yaml.safe_dump(document)


def probed(lab: Lab) -> dict[tuple[str, str, str], str]:
    """Return what each probe of each pair met."""
    running = {}
    for here, there in permutations(CLIENTS, 2):
        for service in SERVICES:
            command = [
                ROUTERD,
                "lab",
                "exec",
                "--run-dir",
                str(lab.place),
                f"{here}-client",
                "--",
                "python3",
                "-c",
            ]
            running[here, there, service] = subprocess.Popen(
                [*command, PROBE, CLIENTS[there], service], stdout=subprocess.PIPE, text=True
            )
    return {key: process.communicate(timeout=300)[0].strip() for key, process in running.items()}


def asked(lab: Lab, *command: str) -> Mapping[str, object]:
    done = lab.execute(RR, ROUTERD, *command, "-o", "json")
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_tests_kernel_and_packets_agree(lab: Lab) -> None:
    file = lab.place / "configs" / f"{RR}.yaml"
    bare = file.read_text()
    lab.end_daemon(RR, signal.SIGTERM)
    file.write_text(with_policy(bare))
    daemon = lab.start_daemon(RR)
    until(lambda: lab.ready(RR))

    answer = asked(lab, "verify")
    assert answer["passed"] is True, answer
    assert len(answer["tests"]) == 36
    expected = {
        (here, there, service): "passes" if (here, there, service) in OPEN else "rejected"
        for here, there in permutations(CLIENTS, 2)
        for service in SERVICES
    }
    assert probed(lab) == expected

    # The status counts what the rules decided, and explain names the rule.
    states = {each["name"]: each["counters"] for each in asked(lab, "status")["subsystems"]}
    assert all(states[name]["packets"] > 0 for name in ("replies", "rule 1 (ssh)", "rule 4 (rest)")), states
    asks = lab.execute(RR, ROUTERD, "explain", CLIENTS["aws"], CLIENTS["oci"], "--by", "tcp/22")
    assert asks.returncode == 0, asks.stdout + asks.stderr
    assert "rule 1 (ssh) of FabricPolicy/inside lets it pass" in asks.stdout
    asks = lab.execute(RR, ROUTERD, "explain", CLIENTS["aws"], CLIENTS["oci"], "--by", "tcp/23")
    assert asks.returncode == 1
    assert "does not get through: rule 4 (rest) of FabricPolicy/inside stops it" in asks.stdout

    # What a stranger does to the rules is taken back.
    assert lab.execute(RR, "nft", "flush", "ruleset").returncode == 0
    until(lambda: asked(lab, "verify").get("passed") is True)

    # A file whose tests do not hold is refused with its line; what a leaf owns only the daemon knows.
    sure = f"{CLIENTS['pve']} does not reach {CLIENTS['oci']} by tcp/22"
    depends = f"{CLIENTS['aws']} does not reach {CLIENTS['oci']} by tcp/22"
    for test, words, commands in (
        (sure, "rule 3 (from-home) let", ("validate", "plan", "reload")),
        (depends, "rule 1 (ssh) let", ("plan", "reload")),
    ):
        file.write_text(with_policy(bare, tests=[test]))
        line = next(at for at, text in enumerate(file.read_text().splitlines(), start=1) if test in text)
        for command in commands:
            refused = lab.execute(RR, ROUTERD, command, "--config", str(file))
            said = refused.stdout + refused.stderr
            assert refused.returncode != 0, said
            assert f"{RR}.yaml:{line}: FabricPolicy/inside spec.tests[0]: " in said, said
            assert f'"{test}" does not hold: ' in said, said
            assert words in said, said
    file.write_text(with_policy(bare, tests=[depends]))
    undecided = lab.execute(RR, ROUTERD, "validate", "--config", str(file))
    assert undecided.returncode == 0
    assert "is not decided" in undecided.stdout + undecided.stderr
    assert asked(lab, "verify") == answer

    # Another policy by a reload, and none.
    closed = [
        f"{CLIENTS['aws']} does not reach {there} by tcp/22" for there in (CLIENTS["oci"], CLIENTS["azure"])
    ]
    file.write_text(with_policy(bare, rules=RULES[1:], tests=closed))
    assert lab.execute(RR, ROUTERD, "reload").returncode == 0
    until(lambda: asked(lab, "verify").get("passed") is True and len(asked(lab, "verify")["tests"]) == 2)
    after = probed(lab)
    assert {key for key in expected if after[key] != expected[key]} == {
        ("aws", "azure", "tcp/22"),
        ("aws", "oci", "tcp/22"),
    }
    document = yaml.safe_load(file.read_text())
    document["spec"]["resources"] = document["spec"]["resources"][:-1]
    file.write_text(yaml.safe_dump(document))
    assert lab.execute(RR, ROUTERD, "reload").returncode == 0
    until(lambda: "routerd_policy" not in lab.execute(RR, "nft", "list", "tables").stdout)
    assert set(probed(lab).values()) == {"passes"}
    until(lambda: lab.ready(RR))

    # The rules outlive the daemon, and `down` removes them.
    file.write_text(with_policy(bare))
    assert lab.execute(RR, ROUTERD, "reload").returncode == 0
    until(lambda: "rule_rest" in lab.execute(RR, "nft", "list", "ruleset").stdout)
    lab.end_daemon(RR, signal.SIGTERM)
    daemon.wait(timeout=300)
    assert "rule_rest" in lab.execute(RR, "nft", "list", "ruleset").stdout
    done = lab.execute(RR, ROUTERD, "down", "--config", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert lab.execute(RR, "nft", "list", "tables").stdout == ""
