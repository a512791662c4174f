"""Every example of a plugin reaches the highest grade, where only the core and the examples are installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.thirdparty.clean_venv import CleanVenv, build_wheels, core_source, requirements_of

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = [
    Path(__file__).parent / "example_plugin",
    *sorted(path.parent for path in (REPOSITORY / "examples" / "plugins").glob("*/pyproject.toml")),
]
# The suites of the others run in their own tiers, which take minutes.
SHIPPED = ("enrollment_token", "fabric_policy", "transport_ipip", "transport_wireguard", "lab")

pytestmark = [pytest.mark.thirdparty, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> CleanVenv:
    """Return an environment with the core and all examples."""
    root = tmp_path_factory.mktemp("grades")
    sources = [core_source(root)]
    for example in EXAMPLES:
        sources.append(root / example.name)
        shutil.copytree(example, sources[-1], ignore=shutil.ignore_patterns("__pycache__", ".*"))
    made = CleanVenv.make(root / "venv")
    made.link([*requirements_of("routerd"), "pytest", "pytest-asyncio"])
    made.install(build_wheels(sources, root / "wheels"))
    return made


def test_examples_are_found() -> None:
    assert len(EXAMPLES) >= 4


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_reaches_the_highest_grade(example: Path, venv: CleanVenv, tmp_path: Path) -> None:
    project = tmp_path / example.name
    shutil.copytree(example, project, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    done = venv.run("routerd", "plugins", "check", str(project), "--grade", "hardened", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "reaches the grade hardened" in done.stdout


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_plugin_reaches_the_highest_grade(name: str) -> None:
    routerd = Path(sys.executable).with_name("routerd")
    done = subprocess.run(
        [str(routerd), "plugins", "check", name, "--grade", "hardened"],
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stdout + done.stderr
