"""Routers of an earlier commit and of today in one fabric, and today's on the state file of then."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from tests.thirdparty.clean_venv import CleanVenv
from tests.thirdparty.earlier_tree import BEFORE_FREE_NAMES, REPOSITORY, environment, extract

pytestmark = [pytest.mark.thirdparty, pytest.mark.timeout(900)]


@attrs.frozen
class Versions:
    """The environments of then and of now."""

    then: CleanVenv
    now: CleanVenv


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Versions:
    """Return both; without the history of the repository there is no earlier one."""
    root = tmp_path_factory.mktemp("upgrade")
    (root / "tree").mkdir()
    if why := extract(BEFORE_FREE_NAMES, root / "tree"):
        pytest.skip(why)
    return Versions(environment(root / "then", root / "tree"), environment(root / "now", REPOSITORY))


def in_namespace(scenario: str, versions: Versions) -> None:
    """Run a scenario of `inside_upgrade` as root of a namespace of its own."""
    bins = [str(each.root / "bin") for each in (versions.then, versions.now)]
    done = subprocess.run(
        [
            *("unshare", "-Urnmpf", "--mount-proc", "--kill-child"),
            *(sys.executable, "-m", "tests.thirdparty.inside_upgrade", scenario, *bins),
        ],
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stderr


def test_the_environments_are_of_different_trees(versions: Versions, tmp_path: Path) -> None:
    question = "import routerd.spi; print(hasattr(routerd.spi, 'JoinMethod'), routerd.spi.__file__)"
    then, now = (
        each.run("python", "-c", question, cwd=tmp_path).stdout.split()
        for each in (versions.then, versions.now)
    )
    assert (then[0], now[0]) == ("False", "True")
    assert str(REPOSITORY) not in then[1]


def test_a_reflector_of_today_takes_over_the_state_and_the_leaves_of_then(versions: Versions) -> None:
    in_namespace("reflector", versions)


def test_a_leaf_of_today_takes_over_its_state_and_joins_a_reflector_of_then(versions: Versions) -> None:
    in_namespace("leaf", versions)
