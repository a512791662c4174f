"""`routerd plugins check`: on a project as `routerd plugins new` writes it, whole and damaged."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest
from tests.unit.cli.command_line import Done, routerd
from tests.unit.plugins.plugin_world import World

from routerd.plugins.scaffold import new_project


@attrs.frozen
class Installed:
    """A new transport, installed as pip does it from a folder."""

    folder: Path
    name: str

    @property
    def tests(self) -> Path:
        return self.folder / "tests" / f"test_transport_{self.name}.py"

    def check(self, *words: object) -> Done:
        return routerd("plugins", "check", f"routerd-transport-{self.name}", *words)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Installed:
    # A name of its own: a module stays imported for the rest of the run.
    name = "t" + "".join(filter(str.isalnum, request.node.name.lower()))[-20:]
    folder = new_project(name, "transport", tmp_path)
    site = tmp_path / "site"
    site.mkdir()
    world = World(site, monkeypatch)
    plugin = f"transport_{name}"
    world.distribution(
        f"routerd-transport-{name}", f"[routerd.plugins.v1]\n{plugin} = routerd_{plugin}.plugin\n"
    )
    info = site / f"routerd_{plugin}-1.0.dist-info"
    (info / "direct_url.json").write_text(
        json.dumps({"url": folder.as_uri(), "dir_info": {"editable": True}})
    )
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{site}")
    # What this environment has beside routerd[testing] takes longer to import than the suites to run.
    others = ("schemathesis", "hypothesispytest", "xdist", "randomly")
    monkeypatch.setenv("PYTEST_ADDOPTS", " ".join(f"-p no:{name}" for name in others))
    return Installed(folder, name)


def missing(done: Done) -> dict[str, str]:
    return {
        each["group"]: each["words"]
        for each in json.loads(done.out)["groups"]
        if each["state"] in {"failed", "missing"}
    }


def test_a_new_project_reaches_the_highest_grade(installed: Installed) -> None:
    done = installed.check("--grade", "hardened", "--json")
    report = json.loads(done.out)
    assert (done.status, missing(done)) == (0, {})
    assert (report["kind"], report["grade"], report["holds"]) == ("PluginCheck", "hardened", True)
    assert report["tests"] == str(installed.folder / "tests")
    assert sum(each["rules"] for each in report["groups"]) > 30


def test_without_its_suite_it_only_loads(installed: Installed) -> None:
    installed.tests.write_text("def test_of_its_own():\n    raise AssertionError\n")
    done = installed.check()
    assert done.status == 1
    assert "no test class of TransportContract for transport" in done.out
    assert "reaches the grade loads; tested was asked for" in done.out


def test_each_damage_is_named_with_its_words(installed: Installed) -> None:
    package = installed.folder / f"routerd_transport_{installed.name}"
    hooks, code = package / "plugin.py", package / "transport.py"
    hooks.write_text(f"{hooks.read_text()}\nopen({str(installed.folder / 'trace')!r}, 'w').close()\n")
    text = code.read_text()
    assert "    async def states(" in text
    code.write_text(text.replace("    async def states(", "    async def old_states("))
    (installed.folder / "README.md").write_text("# soon\n")
    done = installed.check("--json")
    assert done.status == 1
    assert set(missing(done)) == {"import", "docs", "suite"}
    assert "trace" in missing(done)["import"]
    assert "README has fewer than 5 lines" in missing(done)["docs"]
    assert "test_the_states_name_every_tunnel_and_its_backend failed" in missing(done)["suite"]


def test_a_test_file_that_cannot_be_read_is_named(installed: Installed) -> None:
    (installed.folder / "tests" / "test_more.py").write_text("import no_such_module\n")
    done = installed.check("--json", "--grade", "loads")
    assert done.status == 0
    assert "No module named 'no_such_module'" in missing(done)["suite"]


def test_a_plugin_that_cannot_be_loaded_has_no_grade(installed: Installed) -> None:
    code = installed.folder / f"routerd_transport_{installed.name}" / "plugin.py"
    code.write_text("raise OSError('its library is missing')\n")
    done = installed.check("--grade", "loads", "--json")
    assert done.status == 1
    assert "import failed: OSError: its library is missing" in missing(done)["load"]
    assert json.loads(done.out)["grade"] == ""
    assert "reaches no grade; tested was asked for" in installed.check().out


@pytest.mark.usefixtures("installed")
def test_a_wrong_name_is_status_2_and_lists_what_is_installed() -> None:
    done = routerd("plugins", "check", "routerd-nosuch")
    assert done.status == 2
    assert "distribution routerd-nosuch is not installed (with plugins: routerd-transport-" in done.err
