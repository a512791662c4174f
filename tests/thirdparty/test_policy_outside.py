"""The subsystem `fabric_policy` needs nothing of the tree: its wheel works in a clean environment."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.thirdparty.clean_venv import CleanVenv, build_wheels, core_source, requirements_of

REPOSITORY = Path(__file__).parents[2]
PLUGIN = REPOSITORY / "plugins" / "fabric_policy"

pytestmark = [pytest.mark.thirdparty, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> CleanVenv:
    """Return an environment with the core and the plugin."""
    root = tmp_path_factory.mktemp("policy")
    source = root / PLUGIN.name
    shutil.copytree(PLUGIN, source, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    made = CleanVenv.make(root / "venv")
    made.link([*requirements_of("routerd"), "pytest", "pytest-asyncio", "pytest-timeout", "hypothesis"])
    made.install(build_wheels([core_source(root), source], root / "wheels"))
    return made


def test_its_own_tests_pass_in_a_clean_environment(venv: CleanVenv, tmp_path: Path) -> None:
    shutil.copytree(PLUGIN / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
        "addopts = --import-mode=importlib\nmarkers =\n    netns: needs namespaces\n"
    )
    done = venv.run("python", "-m", "pytest", "-q", "-W", "error", "-m", "not netns", cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


def test_a_file_with_a_policy_is_checked_by_the_installed_plugin(venv: CleanVenv, tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "fabric-policy.md").read_text()
    text = page.partition("```yaml\n")[2].partition("```")[0]
    file = tmp_path / "router.yaml"
    file.write_text(text)
    sound = venv.run("routerd", "validate", "--config", str(file), cwd=tmp_path)
    assert sound.returncode == 0, sound.stderr
    assert "fabric_policy" in sound.stdout
    test = "10.81.10.20 reaches 10.83.10.20 by tcp/22"
    file.write_text(text.replace(test, test.replace("22", "23")))
    wrong = venv.run("routerd", "validate", "--config", str(file), cwd=tmp_path)
    assert wrong.returncode == 2
    assert "does not hold: rule 4 and the default stop it" in wrong.stderr
    lost = venv.run("routerd", "verify", "--run-dir", str(tmp_path), cwd=tmp_path)
    assert lost.returncode == 1
    assert "no daemon" in lost.stderr


@pytest.fixture
def short() -> Iterator[str]:
    """Return a run directory whose sockets have short paths."""
    with tempfile.TemporaryDirectory(prefix="rdp-", dir="/tmp") as place:
        yield place


LIFE = """
set -e
routerd --config $1/router.yaml --state-dir $1/state --run-dir $1/run >$1/log 2>&1 &
daemon=$!
until routerd verify --run-dir $1/run >$1/verified 2>&1; do kill -0 $daemon; done
cat $1/verified
routerd status --run-dir $1/run -o json | grep -c 'rule 1 (ssh)'
nft flush ruleset
until nft list table inet routerd_policy >/dev/null 2>&1; do kill -0 $daemon; done
kill $daemon
wait $daemon
nft list table inet routerd_policy | grep -c 'rule 1 (ssh)'
routerd down --config $1/router.yaml --state-dir $1/state --run-dir $1/run >/dev/null
nft list tables
"""


def test_a_daemon_with_nothing_but_this_plugin_enforces_a_policy(
    venv: CleanVenv, tmp_path: Path, short: str
) -> None:
    rules = "rules: [{name: ssh, from: 10.81.10.0/24, protocol: tcp, ports: 22, action: accept}]"
    page = (REPOSITORY / "docs" / "fabric-policy.md").read_text()
    head = page.partition("```yaml\n")[2].partition("        sets:")[0]
    tests = (
        "tests: [10.81.10.20 reaches 10.83.10.20 by tcp/22, 10.81.10.20 does not reach 10.83.10.20 by udp]"
    )
    (tmp_path / "router.yaml").write_text(f"{head}        {rules}\n        default: drop\n        {tests}\n")
    life = LIFE.replace("$1/run", "$2")
    done = subprocess.run(
        [
            *("unshare", "-Urnpf", "--mount-proc", "--kill-child"),
            *("sh", "-c", f'PATH="{venv.root}/bin:$PATH:/usr/sbin"; {life}', "sh", str(tmp_path), short),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "log").read_text()
    assert done.stdout.splitlines() == [
        "ok   10.81.10.20 reaches 10.83.10.20 by tcp/22      rule 1 (ssh) lets it pass",
        "ok   10.81.10.20 does not reach 10.83.10.20 by udp  the default stops it",
        "1",
        "1",
    ]
