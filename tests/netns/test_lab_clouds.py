"""The person whose accounts are changed: the doctor of each cloud, and an undo that packets feel."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.netns.lab_world import ROUTERD, Lab, run_directory, standing_lab
from tests.support.waiting import until

pytestmark = [
    pytest.mark.netns,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("sshd") is None, reason="needs openssh-server"),
    pytest.mark.skipif(shutil.which("wireguard-go") is None, reason="needs wireguard-go"),
]

REMOTE = {"aws": "10.82.10.20", "azure": "10.83.10.20", "oci": "10.99.9.10", "pve": "10.81.10.20"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with run_directory(tmp_path_factory.mktemp("clouds")) as place, standing_lab(place) as standing:
        yield standing


def asked(lab: Lab, machine: str, *words: str) -> dict[str, object]:
    done = lab.execute(machine, ROUTERD, *words, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def reaches(lab: Lab, site: str) -> bool:
    return lab.execute(f"{site}-client", "ping", "-c", "1", "-W", "1", REMOTE[site]).returncode == 0


@pytest.mark.parametrize("site", REMOTE)
def test_the_doctor_finds_nothing_missing(lab: Lab, site: str) -> None:
    config = str(Path(lab.place, "configs", f"{site}-leaf.yaml"))
    done = lab.execute(f"{site}-leaf", ROUTERD, "doctor", "cloud", "--config", config)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "  missing  " not in done.stdout
    assert done.stdout.count("  ok  ") >= 5, done.stdout


@pytest.mark.parametrize("site", REMOTE)
def test_an_undo_is_felt_holds_and_is_released(lab: Lab, site: str) -> None:
    leaf = f"{site}-leaf"
    until(lambda: lab.ready(leaf) and reaches(lab, site))
    listed = asked(lab, leaf, "actions", "list")
    (number,) = [
        each["number"]
        for each in listed["journal"]
        if f"{REMOTE[site]}/32" in json.dumps(each) and each["verb"] == "create"
    ]
    asked(lab, leaf, "actions", "undo", str(number))
    until(lambda: not reaches(lab, site))
    # Also after the daemon looked again, and said so.
    lab.execute(leaf, ROUTERD, "retry")
    status = lab.status(leaf)
    assert status["phase"] != "Ready"
    assert "held after an undo" in " ".join(status["reasons"])
    assert not reaches(lab, site)
    (waiting,) = asked(lab, leaf, "actions", "list")["open"]
    asked(lab, leaf, "actions", "approve", waiting["id"])
    until(lambda: reaches(lab, site) and lab.ready(leaf))
