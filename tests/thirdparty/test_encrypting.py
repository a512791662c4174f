"""A stranger's encrypting transport: built, installed, and carrying a fabric under its own name."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.thirdparty.clean_venv import CleanVenv, build_wheels, core_source, requirements_of

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
OURS = ("bgp_ryu", "enrollment_token", "transport_ipip")

pytestmark = [pytest.mark.thirdparty, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> CleanVenv:
    """Return an environment with the core, the stranger's plugin, and no encrypting one of the tree."""
    root = tmp_path_factory.mktemp("encrypting")
    sources = [core_source(root)]
    for place in (HERE / "encrypting", *(REPOSITORY / "plugins" / name for name in OURS)):
        sources.append(root / place.name)
        shutil.copytree(place, sources[-1], ignore=shutil.ignore_patterns("__pycache__", ".*"))
    made = CleanVenv.make(root / "venv")
    needed = [each for each in requirements_of("routerd-bgp-ryu") if not each.startswith("routerd")]
    made.link([*requirements_of("routerd"), *needed])
    made.install(build_wheels(sources, root / "wheels"))
    return made


def in_namespace(scenario: str, venv: CleanVenv) -> None:
    """Run a scenario of `inside_encrypting` as root of a namespace of its own."""
    done = subprocess.run(
        [
            *("unshare", "-Urnmpf", "--mount-proc", "--kill-child"),
            *(sys.executable, "-m", "tests.thirdparty.inside_encrypting", scenario, str(venv.root / "bin")),
        ],
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stderr


def test_two_daemons_enroll_tunnel_and_speak_bgp_by_it(venv: CleanVenv) -> None:
    in_namespace("carries", venv)


def test_a_key_that_no_claim_can_carry_is_refused_in_words(venv: CleanVenv) -> None:
    in_namespace("refuses", venv)
