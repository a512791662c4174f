"""A join method from outside of the tree: built, installed, tested, and joined by in a real fabric."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.thirdparty.clean_venv import CleanVenv, build_wheels, core_source, requirements_of

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
EXAMPLE = REPOSITORY / "examples" / "plugins" / "join_ed25519"

pytestmark = [pytest.mark.thirdparty, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> CleanVenv:
    """Return an environment with the core, the example, what misbehaves, and healthy plugins."""
    root = tmp_path_factory.mktemp("join")
    sources = [core_source(root)]
    for place in (
        EXAMPLE,
        HERE / "misbehaving_join",
        REPOSITORY / "plugins" / "enrollment_token",
        REPOSITORY / "plugins" / "transport_ipip",
    ):
        sources.append(root / place.name)
        shutil.copytree(place, sources[-1], ignore=shutil.ignore_patterns("__pycache__", ".*"))
    made = CleanVenv.make(root / "venv")
    made.link([*requirements_of("routerd"), "pytest", "pytest-asyncio", "pytest-timeout"])
    made.install(build_wheels(sources, root / "wheels"))
    return made


def in_namespace(scenario: str, venv: CleanVenv) -> None:
    """Run a scenario of `inside_join_method` as root of a namespace of its own."""
    done = subprocess.run(
        [
            *("unshare", "-Urnmpf", "--mount-proc", "--kill-child"),
            *(sys.executable, "-m", "tests.thirdparty.inside_join_method", scenario, str(venv.root / "bin")),
        ],
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stderr


def test_its_own_tests_pass_in_a_clean_environment(venv: CleanVenv, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(EXAMPLE / "pyproject.toml", tmp_path)
    done = venv.run("python", "-m", "pytest", "-q", "-W", "error", cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


def test_a_leaf_joins_a_reflector_by_it(venv: CleanVenv) -> None:
    in_namespace("joins", venv)


def test_methods_that_misbehave_take_nothing_with_them(venv: CleanVenv) -> None:
    in_namespace("misbehaves", venv)
