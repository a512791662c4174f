"""A transport from outside of the tree: built, installed, tested, and carrying packets of two daemons."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.thirdparty.clean_venv import CleanVenv, build_wheels, core_source, requirements_of

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "examples" / "plugins" / "transport_vxlan"

pytestmark = [pytest.mark.thirdparty, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> CleanVenv:
    """Return an environment with the core and the example, and no transport of the tree."""
    root = tmp_path_factory.mktemp("transport")
    source = root / EXAMPLE.name
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    made = CleanVenv.make(root / "venv")
    made.link([*requirements_of("routerd"), "pytest", "pytest-asyncio", "pytest-timeout"])
    made.install(build_wheels([core_source(root), source], root / "wheels"))
    return made


def test_its_own_tests_pass_in_a_clean_environment(venv: CleanVenv, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(EXAMPLE / "pyproject.toml", tmp_path)
    done = venv.run("python", "-m", "pytest", "-q", "-W", "error", cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


def test_it_carries_packets_between_two_daemons_under_its_own_name(venv: CleanVenv) -> None:
    done = subprocess.run(
        [
            *("unshare", "-Urnmpf", "--mount-proc", "--kill-child"),
            *(sys.executable, "-m", "tests.thirdparty.inside_transport", str(venv.root / "bin")),
        ],
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
        cwd=REPOSITORY,
    )
    if "this kernel makes no VXLAN" in done.stderr:
        pytest.skip("this kernel has no vxlan")
    assert done.returncode == 0, done.stderr
