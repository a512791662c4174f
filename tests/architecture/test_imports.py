"""The layers: which package may import which."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.architecture import tree

ALLOWED = (
    "routerd.spi",
    "routerd.model",
    "routerd.errors",
    "routerd.hookimpl",
    "routerd.hookspecs",
    "routerd.cli.for_plugins",
)


def relative(path: Path) -> str:
    return str(path.relative_to(tree.ROOT))


def test_the_layers_of_the_core_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [str(lint), "--no-cache"], capture_output=True, text=True, check=False, cwd=tree.ROOT, timeout=50
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", tree.plugin_packages())
def test_a_plugin_imports_the_contract_and_never_another_plugin(name: str) -> None:
    own = f"routerd_{name}"
    wrong = [
        f"{relative(path)}: {module}"
        for path in tree.modules(f"plugins/{name}/{own}/")
        for module in tree.imports(path)
        if "/testing/" not in str(path)  # what a plugin ships for tests may use the test kit
        if module.split(".")[0].startswith("routerd")
        and module != "routerd"
        and module.split(".")[0] != own
        and not any(module == allowed or module.startswith(allowed + ".") for allowed in ALLOWED)
    ]
    assert wrong == []


def test_the_strangers_plugin_obeys_the_same_rule() -> None:
    paths = list((tree.EXAMPLE / "routerd_fabric_static").glob("*.py"))
    assert paths
    for path in paths:
        for module in tree.imports(path):
            if module.startswith("routerd.") and not module.startswith("routerd_fabric_static"):
                assert module.startswith(ALLOWED), f"{path.name}: {module}"


def test_the_core_imports_no_plugin() -> None:
    wrong = [
        f"{relative(path)}: {module}"
        for path in tree.modules("core/")
        for module in tree.imports(path)
        if module.startswith("routerd_")
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("library", "home"), [("pyroute2", "core/routerd/kernel/"), ("sqlite3", "core/routerd/store/")]
)
def test_a_library_of_the_core_has_one_home(library: str, home: str) -> None:
    users = {
        relative(p) for p in tree.modules("core/") for m in tree.imports(p) if m.split(".")[0] == library
    }
    assert users
    assert {user for user in users if not user.startswith(home)} == set()


def test_the_product_never_imports_the_test_kit() -> None:
    wrong = [
        relative(path)
        for path in tree.modules("core/", "plugins/")
        if "/testing/" not in str(path) and "/tests/" not in str(path)
        if any(
            module.startswith("routerd.testing") or module.split(".")[0] == "pytest"
            for module in tree.imports(path)
        )
    ]
    assert wrong == []


@pytest.mark.parametrize("name", tree.plugin_packages())
def test_a_plugins_hooks_are_in_a_module_that_imports_no_sdk(name: str) -> None:
    path = tree.plugin_packages()[name] / "plugin.py"
    if not path.exists():
        pytest.fail(f"{relative(path)} does not exist")
    sdks = {"boto3", "botocore", "azure", "oci", "proxmoxer", "os_ken", "eventlet", "pyroute2"}
    assert {module.split(".")[0] for module in tree.imports(path)} & sdks == set()


def test_commands_that_only_ask_a_daemon_load_none_of_it() -> None:
    """They run by the hundred in scripts and checks, on small machines."""
    code = (
        "import sys\n"
        "from routerd.cli import main\nfrom routerd.cli.look import peers, routes, status\n"
        "from routerd.cli.enroll.decisions import list, log, show\n"
        "heavy = {'pyroute2', 'sqlite3', 'aiohttp', 'yaml', 'routerd.model.specs', 'routerd.runtime.daemon',"
        " 'routerd.reconcile'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
