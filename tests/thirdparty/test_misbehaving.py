"""A plugin that breaks its contract in every way that is known, beside healthy ones in a real daemon."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.thirdparty.clean_venv import CleanVenv, build_wheels, core_source, requirements_of

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]

pytestmark = [pytest.mark.thirdparty, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> CleanVenv:
    """Return an environment with the core, what misbehaves, and a healthy plugin."""
    root = tmp_path_factory.mktemp("misbehaving")
    sources = [core_source(root)]
    for place in (HERE / "misbehaving", REPOSITORY / "plugins" / "transport_ipip"):
        sources.append(root / place.name)
        shutil.copytree(place, sources[-1], ignore=shutil.ignore_patterns("__pycache__", ".*"))
    made = CleanVenv.make(root / "venv")
    made.link(requirements_of("routerd"))
    made.install(build_wheels(sources, root / "wheels"))
    return made


@pytest.mark.parametrize("scenario", ["calls", "deaf", "ends", "blocks", "early", "commands", "options"])
def test_what_it_takes_with_it(venv: CleanVenv, scenario: str) -> None:
    done = subprocess.run(
        [
            *("unshare", "-Urnmpf", "--mount-proc", "--kill-child"),
            *(sys.executable, "-m", "tests.thirdparty.inside_misbehaving", scenario, str(venv.root / "bin")),
        ],
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stderr
