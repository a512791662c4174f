"""A routing from outside of the tree: built, installed, tested, and beside BGP in a real router."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.thirdparty.clean_venv import CleanVenv, build_wheels, core_source, requirements_of

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "examples" / "plugins" / "routing_static"

pytestmark = [pytest.mark.thirdparty, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> CleanVenv:
    """Return an environment with the core, the example and BGP."""
    root = tmp_path_factory.mktemp("routing")
    sources = [core_source(root)]
    for place in (EXAMPLE, REPOSITORY / "plugins" / "bgp_ryu"):
        sources.append(root / place.name)
        shutil.copytree(place, sources[-1], ignore=shutil.ignore_patterns("__pycache__", ".*"))
    made = CleanVenv.make(root / "venv")
    needed = [each for each in requirements_of("routerd-bgp-ryu") if not each.startswith("routerd")]
    made.link([*requirements_of("routerd"), *needed, "pytest", "pytest-asyncio", "pytest-timeout"])
    made.install(build_wheels(sources, root / "wheels"))
    return made


def test_its_own_tests_pass_in_a_clean_environment(venv: CleanVenv, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(EXAMPLE / "pyproject.toml", tmp_path)
    done = venv.run("python", "-m", "pytest", "-q", "-W", "error", cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


def test_its_routes_come_before_those_of_bgp_and_reveal_them_when_they_go(venv: CleanVenv) -> None:
    done = subprocess.run(
        [
            *("unshare", "-Urnmpf", "--mount-proc", "--kill-child"),
            *(sys.executable, "-m", "tests.thirdparty.inside_routing", str(venv.root / "bin")),
        ],
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stderr
