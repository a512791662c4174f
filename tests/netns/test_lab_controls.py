"""Each control of a fabric matters: without it exactly the pairs that need it fail."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from itertools import permutations
from pathlib import Path

import pytest

SITES = ("aws", "azure", "oci", "pve")
SCENARIO = Path(__file__).with_name("lab_scenario.py")

pytestmark = [
    pytest.mark.netns,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("sshd") is None, reason="needs openssh-server"),
]

Results = Mapping[str, frozenset[str]]


def pairs(*, touching: str = "", between: tuple[str, str] | None = None) -> frozenset[str]:
    """Return directed pairs of clients: all of them, those with one site, or those of two sites."""

    def wanted(source: str, target: str) -> bool:
        if between is not None:
            return {source, target} == set(between)
        return not touching or touching in {source, target}

    return frozenset(f"{a}-client>{b}-client" for a, b in permutations(SITES, 2) if wanted(a, b))


@pytest.fixture(scope="module")
def results() -> Results:
    """Play the scenario once, as an unprivileged process would."""
    done = subprocess.run(
        [sys.executable, str(SCENARIO)], capture_output=True, text=True, timeout=880, check=False
    )
    assert done.returncode == 0, done.stderr
    return {case: frozenset(failing) for case, failing in json.loads(done.stdout).items()}


def test_nothing_passes_before_anything_is_set(results: Results) -> None:
    assert results["nothing set"] == pairs()


def test_every_pair_passes_by_ping_and_ssh_when_all_is_set(results: Results) -> None:
    assert results["all set"] == frozenset()


@pytest.mark.parametrize("site", ["aws", "azure", "oci"])
def test_a_checked_leaf_nic_cuts_off_its_site(results: Results, site: str) -> None:
    assert results[f"{site} forwarding"] == pairs(touching=site)


@pytest.mark.parametrize("site", ["aws", "azure", "oci"])
def test_a_missing_route_cuts_exactly_the_pairs_of_its_prefix(results: Results, site: str) -> None:
    assert results[f"{site} route"] == pairs(between=(site, "pve"))


def test_oracles_image_rejects_what_is_forwarded(results: Results) -> None:
    assert results["oci forward accept"] == pairs(touching="oci")


def test_a_missing_guest_route_cuts_exactly_the_pairs_of_its_prefix(results: Results) -> None:
    assert results["pve guest route"] == pairs(between=("pve", "aws"))


def test_everything_works_again_when_all_is_given_back(results: Results) -> None:
    assert results["all set again"] == frozenset()
