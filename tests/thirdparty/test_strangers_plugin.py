"""A plugin from outside of the tree: built, installed in a clean environment, tested, used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.thirdparty.clean_venv import CleanVenv, build_wheels, core_source, requirements_of

HERE = Path(__file__).parent
EXAMPLE = HERE / "example_plugin"

pytestmark = [pytest.mark.thirdparty, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> CleanVenv:
    """Return an environment with the core's wheel, the plugin's wheel and the tools of its tests."""
    root = tmp_path_factory.mktemp("stranger")
    source = root / "routerd-fabric-static"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    made = CleanVenv.make(root / "venv")
    made.link([*requirements_of("routerd"), "pytest", "pytest-asyncio", "pytest-timeout"])
    made.install(build_wheels([core_source(root), source], root / "wheels"))
    return made


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    """Return a file whose cloud is the stranger's."""
    routes = tmp_path / "routes.json"
    routes.write_text(
        json.dumps({"nics": {"nic-1": {"address": "10.1.0.4", "forwarding": False}}, "tables": {"main": {}}})
    )
    path = tmp_path / "router.yaml"
    path.write_text(f"""\
apiVersion: routerd.net/v1alpha1
kind: Router
metadata: {{name: stranger}}
spec:
  resources:
    - apiVersion: hybrid.routerd.net/v1alpha1
      kind: CloudProviderProfile
      metadata: {{name: files}}
      spec:
        provider: static
        mode: auto
        options: {{file: {routes}, nextHop: nic-1}}
""")
    return path


def test_nothing_else_of_ours_is_installed(venv: CleanVenv, tmp_path: Path) -> None:
    code = (
        "from importlib.metadata import entry_points\n"
        "print([entry.name for entry in entry_points(group='routerd.plugins.v1')])"
    )
    done = venv.run("python", "-c", code, cwd=tmp_path)
    assert done.stdout.strip() == "['fabric_static']", done.stderr


def test_its_own_tests_pass_there(venv: CleanVenv, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(EXAMPLE / "pyproject.toml", tmp_path)
    done = venv.run("python", "-m", "pytest", "-q", "-W", "error", cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


def test_the_kit_does_not_disturb_a_pytest_run_that_does_not_use_it(venv: CleanVenv, tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text(
        "import sys\n\ndef test_light():\n    heavy = {'aiohttp', 'pyroute2', 'cattrs', 'rich', 'yaml'}\n"
        "    assert not heavy & set(sys.modules)\n"
    )
    done = venv.run(
        "python", "-m", "pytest", "-q", "-W", "error", "--strict-markers", "-p", "no:asyncio", cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_routerd_lists_it(venv: CleanVenv, tmp_path: Path) -> None:
    done = venv.run("routerd", "--plugins", "fabric_static", "plugins", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "fabric_static" in done.stdout
    assert "static" in done.stdout


def test_routerd_validates_its_options(venv: CleanVenv, tmp_path: Path, configuration: Path) -> None:
    words = ("routerd", "--plugins", "fabric_static", "--config", str(configuration), "validate")
    done = venv.run(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    configuration.write_text(configuration.read_text().replace("nextHop", "nextHopp"))
    done = venv.run(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert "nextHopp" in done.stdout + done.stderr
