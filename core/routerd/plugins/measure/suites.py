"""Contract suites, run by pytest in a process of its own; `routerd.testing.measuring` reports from there."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

import attrs

from routerd.errors import PluginError

SECONDS = 900
"""Maximum seconds of one run; the suite of a BGP speaker takes some ninety."""

_NEEDED = ("pytest", "pytest_asyncio")
_WORDS = 600
"""Maximum characters of pytest's own words in a message."""

_ANSWERS = (0, 1, 5)
"""Exit statuses of pytest that are answers: all passed, some failed, there was nothing to run."""

_OF_A_PLUGIN = """\
from routerd.testing.contracts import PluginContract


class TestPlugin(PluginContract):
    name = {name!r}
"""


@attrs.frozen(kw_only=True)
class Rule:
    """One rule of a suite that was tried: by which test, for which provider, in which group, and how it went.

    `of` is the kind of the provider, or the name of the plugin. `outcome` is passed, failed or skipped.
    """

    test: str
    suites: frozenset[str]
    of: str
    group: str
    outcome: str
    words: str = ""


@attrs.frozen(kw_only=True)
class Run:
    """The rules of one run; `fault` says why there is nothing more."""

    rules: tuple[Rule, ...] = ()
    fault: str = ""


def require_kit() -> None:
    """Raise `PluginError` when the test kit's libraries are missing."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise PluginError(f"{' and '.join(missing)}: not installed; run pip install 'routerd[testing]'")


def run_plugin_rules(names: Sequence[str]) -> Run:
    """Run the suite of a plugin as a whole for each name; it needs no tests of the project."""
    with tempfile.TemporaryDirectory(prefix="routerd-check-") as place:
        folder = Path(place)
        for name in names:
            (folder / f"test_{name}.py").write_text(_OF_A_PLUGIN.format(name=name), encoding="utf-8")
        (folder / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
        return run_suites(folder)


def run_suites(tests: Path) -> Run:
    """Run the contract suites below a folder, and none of its other tests."""
    config = _configuration(tests)
    with tempfile.TemporaryDirectory(prefix="routerd-check-") as place:
        answer = Path(place) / "rules.json"
        command = [
            *(sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "routerd.testing.measuring"),
            *("-p", "no:cacheprovider", f"--routerd-measure={answer}"),
            *(("-c", str(config)) if config is not None else ()),
            str(tests),
        ]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
                cwd=config.parent if config is not None else tests,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            )
        except subprocess.TimeoutExpired:
            return Run(fault=f"the suites in {tests} take longer than {SECONDS} s; run pytest to see why")
        try:
            found = json.loads(answer.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return Run(fault=f"pytest reported nothing: {(done.stderr or done.stdout).strip()[-_WORDS:]}")
    rules = tuple(Rule(**{**each, "suites": frozenset(each["suites"])}) for each in found["rules"])
    fault = "; ".join(found["errors"])
    if done.returncode not in _ANSWERS and not fault:
        fault = (
            f"pytest ended with status {done.returncode}: {(done.stderr or done.stdout).strip()[-_WORDS:]}"
        )
    return Run(rules=rules, fault=fault[:_WORDS])


def _configuration(tests: Path) -> Path | None:
    """Return the nearest file that configures pytest, as pytest itself would find it."""
    for folder in (tests, *tests.parents):
        if (folder / "pytest.ini").is_file():
            return folder / "pytest.ini"
        project = folder / "pyproject.toml"
        if project.is_file() and _configures_pytest(project):
            return project
    return None


def _configures_pytest(project: Path) -> bool:
    try:
        return "pytest" in tomllib.loads(project.read_text(encoding="utf-8")).get("tool", {})
    except (OSError, ValueError):
        return False
