"""A subsystem from outside of the tree: built, installed, tested, and in a real fabric."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.thirdparty.clean_venv import CleanVenv, build_wheels, core_source, requirements_of

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "examples" / "plugins" / "fabric_names"

pytestmark = [pytest.mark.thirdparty, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> CleanVenv:
    """Return an environment with the core, the example and a transport."""
    root = tmp_path_factory.mktemp("names")
    sources = [core_source(root)]
    for place in (EXAMPLE, REPOSITORY / "plugins" / "transport_ipip"):
        sources.append(root / place.name)
        shutil.copytree(place, sources[-1], ignore=shutil.ignore_patterns("__pycache__", ".*"))
    made = CleanVenv.make(root / "venv")
    needed = [each for each in requirements_of("routerd-transport-ipip") if not each.startswith("routerd")]
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


def test_it_follows_the_fabric_and_removes_what_is_its_own(venv: CleanVenv) -> None:
    done = subprocess.run(
        [
            *("unshare", "-Urnmpf", "--mount-proc", "--kill-child"),
            *(sys.executable, "-m", "tests.thirdparty.inside_names", str(venv.root / "bin")),
        ],
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stderr
