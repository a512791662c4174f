"""A plugin from outside of the tree: built, installed in a clean environment, tested, used."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
EXAMPLE = HERE / "example_plugin"

pytestmark = [pytest.mark.thirdparty, pytest.mark.timeout(900)]


def _load(name: str) -> ModuleType:
    """Load a module that lies beside this one; in importlib mode the folder is not a package."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory):  # noqa: ANN201 - its class is loaded by hand
    """Return an environment with the core's wheel, the plugin's wheel and the tools of its tests."""
    tools = _load("clean_venv")
    root = tmp_path_factory.mktemp("stranger")
    source = root / "routerd-fabric-static"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    core = root / "core-source"
    core.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, core)
    shutil.copytree(REPOSITORY / "core", core / "core", ignore=shutil.ignore_patterns("__pycache__"))
    made = tools.CleanVenv.make(root / "venv")
    requirements = tools.metadata.distribution("routerd").requires or []
    plain = [text for text in requirements if "extra" not in text]
    made.link([*plain, "pytest", "pytest-asyncio", "pytest-timeout"])
    made.install(tools.build_wheels([core, source], root / "wheels"))
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


def test_nothing_else_of_ours_is_installed(venv, tmp_path: Path) -> None:  # noqa: ANN001 - as above
    code = (
        "from importlib.metadata import entry_points\n"
        "print([entry.name for entry in entry_points(group='routerd.plugins.v1')])"
    )
    done = venv.run("python", "-c", code, cwd=tmp_path)
    assert done.stdout.strip() == "['fabric_static']", done.stderr


def test_its_own_tests_pass_there(venv, tmp_path: Path) -> None:  # noqa: ANN001 - as above
    shutil.copytree(EXAMPLE / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(EXAMPLE / "pyproject.toml", tmp_path)
    done = venv.run("python", "-m", "pytest", "-q", "-W", "error", cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


def test_the_kit_does_not_disturb_a_pytest_run_that_does_not_use_it(venv, tmp_path: Path) -> None:  # noqa: ANN001 - as above
    (tmp_path / "test_other.py").write_text(
        "import sys\n\ndef test_light():\n    heavy = {'aiohttp', 'pyroute2', 'cattrs', 'rich', 'yaml'}\n"
        "    assert not heavy & set(sys.modules)\n"
    )
    done = venv.run(
        "python", "-m", "pytest", "-q", "-W", "error", "--strict-markers", "-p", "no:asyncio", cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_routerd_lists_it(venv, tmp_path: Path) -> None:  # noqa: ANN001 - as above
    done = venv.run("routerd", "--plugins", "fabric_static", "plugins", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "fabric_static" in done.stdout
    assert "static" in done.stdout


def test_routerd_validates_its_options(venv, tmp_path: Path, configuration: Path) -> None:  # noqa: ANN001 - as above
    words = ("routerd", "--plugins", "fabric_static", "--config", str(configuration), "validate")
    done = venv.run(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    configuration.write_text(configuration.read_text().replace("nextHop", "nextHopp"))
    done = venv.run(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert "nextHopp" in done.stdout + done.stderr
