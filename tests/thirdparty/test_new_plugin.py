"""`routerd plugins new`: from the command to green tests, where only routerd[testing] is installed."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.thirdparty.clean_venv import CleanVenv, build_wheels, core_source, requirements_of

from routerd.plugins.scaffold import FAMILIES, PREFIX, Family

pytestmark = [pytest.mark.thirdparty, pytest.mark.timeout(900)]

SUITES = {
    "transport": "TransportContract",
    "routing": "RoutingContract",
    "enrollment": "EnrollmentContract",
    "fabric": "FabricContract",
    "subsystem": "SubsystemContract",
}


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> CleanVenv:
    """Return an environment with the core's wheel and what `routerd[testing]` brings."""
    root = tmp_path_factory.mktemp("author")
    made = CleanVenv.make(root / "venv")
    made.link([*requirements_of("routerd"), "pytest", "pytest-asyncio"])
    made.install(build_wheels([core_source(root)], root / "wheels"))
    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tests_of_a_new_plugin_pass_at_once(family: Family, venv: CleanVenv, tmp_path: Path) -> None:
    done = venv.run("routerd", "plugins", "new", "vxlan", "--family", family, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    plugin = f"{PREFIX[family]}_vxlan"
    project = tmp_path / f"routerd-{PREFIX[family]}-vxlan"
    assert SUITES[family] in (project / "tests" / f"test_{plugin}.py").read_text()
    venv.install(build_wheels([project], tmp_path / "wheels"))

    done = venv.run("python", "-m", "pytest", "-q", "-W", "error", cwd=project)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert "skipped" not in done.stdout
    assert int(done.stdout.rsplit(" passed", 1)[0].split()[-1]) >= 20

    done = venv.run("routerd", "plugins", "check", str(project), "--grade", "hardened", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr

    done = venv.run("routerd", "--plugins", plugin, "plugins", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert plugin in done.stdout
