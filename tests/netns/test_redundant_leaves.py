"""Two real leaves at one site: who is gone is replaced, who returns takes over, each by one write."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCENARIO = Path(__file__).with_name("site_scenario.py")
HOLD_DOWN = 10.0
BGP_HOLD = 9.0
MARGIN = 12.0
"""Seconds that a busy machine may need beside the timers."""

pytestmark = [
    pytest.mark.netns,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("wireguard-go") is None, reason="needs wireguard-go"),
]


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:  # Any: JSON
    """Play the scenario once, as an unprivileged process would."""
    done = subprocess.run(
        [sys.executable, str(SCENARIO)], capture_output=True, text=True, timeout=880, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_table_changes_hands_once_each_way(results: dict[str, Any]) -> None:
    """By what the fabric enforces: the first leaf, killed and back, cut off and back."""
    assert results["seen"] == ["aws-leaf", "aws-leaf-2", "aws-leaf", "aws-leaf-2", "aws-leaf"]


def test_each_leaf_writes_once_for_each_takeover(results: dict[str, Any]) -> None:
    """By the journals."""
    assert results["writes"] == {
        "aws-leaf": ["create", "replace", "replace"],
        "aws-leaf-2": ["replace", "replace"],
    }


@pytest.mark.parametrize(
    ("event", "least", "most"),
    [
        ("killed", HOLD_DOWN, HOLD_DOWN),
        ("cut off", HOLD_DOWN, BGP_HOLD + HOLD_DOWN),
        ("mended", HOLD_DOWN, BGP_HOLD + HOLD_DOWN),
    ],
)
def test_a_takeover_comes_after_the_hold_down(
    results: dict[str, Any], event: str, least: float, most: float
) -> None:
    assert least - 1 <= results[event] <= most + MARGIN


@pytest.mark.parametrize(
    ("event", "most"),
    [
        # The kernel of a leaf forwards on without its daemon.
        ("killed", 0.0),
        ("started again", 0.0),
        ("cut off", BGP_HOLD + HOLD_DOWN),
        ("mended", 0.0),
    ],
)
def test_traffic_is_lost_only_while_nobody_knows(results: dict[str, Any], event: str, most: float) -> None:
    assert results["gaps"][event] <= most + (MARGIN if most else 2.0)


def test_traffic_is_lost_at_all_when_the_active_leaf_is_cut_off(results: dict[str, Any]) -> None:
    """Else the fabric would not have forwarded by the table."""
    assert results["gaps"]["cut off"] >= HOLD_DOWN - 1


@pytest.mark.parametrize("when", ["notes", "notes again"])
def test_both_say_who_is_active(results: dict[str, Any], when: str) -> None:
    first, second = results[when]
    assert "active in placement group aws with priority 10" in first
    assert "standby in placement group aws with priority 20: router 10.255.16.11" in second
