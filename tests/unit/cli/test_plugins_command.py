"""`routerd plugins`: it lists what can be used and names what cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.cli.command_line import routerd
from tests.unit.plugins.plugin_world import World

from routerd.cli.act import plugins

GOOD = """
from pathlib import Path
import attrs, routerd
from routerd.spi import PluginInfo

@attrs.frozen(kw_only=True)
class Options:
    file: Path
    pause_seconds: int = 5
    names: tuple[str, ...] = ()

@routerd.hookimpl
def routerd_plugin_info():
    return PluginInfo(name="good", summary="does what it says", api=(1, 0), config=Options)
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path, monkeypatch)
    made("good", GOOD)
    made("broken", "raise OSError('its library is missing')")
    return made


@pytest.mark.usefixtures("world")
def test_a_loaded_plugin_has_its_summary_and_its_options_with_types() -> None:
    done = routerd("--plugins", "good", "plugins", "--json")
    (found,) = (each for each in json.loads(done.out)["plugins"] if each["name"] == "good")
    assert (done.status, found["summary"]) == (0, "does what it says")
    assert [(each["of"], each["name"], each["type"]) for each in found["options"]] == [
        ("the plugin", "file", "Path"),
        ("the plugin", "pauseSeconds", "int"),
        ("the plugin", "names", "tuple[str, ...]"),
    ]
    assert [(each["required"], each["default"]) for each in found["options"]] == [
        (True, ""),
        (False, "5"),
        (False, "()"),
    ]
    shown = routerd("--plugins", "good", "plugins").out
    assert "does what it says" in shown
    assert "pauseSeconds" in shown


@pytest.mark.usefixtures("world")
def test_a_broken_plugin_is_named_and_hides_no_other() -> None:
    done = routerd("--plugins", "good,broken", "plugins", "--json")
    found = {each["name"]: each for each in json.loads(done.out)["plugins"]}
    assert done.status == 0
    assert found["good"]["enabled"]
    assert "its library is missing" in found["broken"]["fault"]
    assert "its library is missing" in routerd("--plugins", "good,broken", "plugins").out


@pytest.mark.usefixtures("world")
def test_a_plugin_that_is_not_installed_is_named_beside_the_list() -> None:
    done = routerd("--plugins", "good,nosuch", "plugins")
    assert done.status == 0
    assert "plugin nosuch is not installed (installed: broken, good)" in done.err
    assert "does what it says" in done.out


@pytest.mark.usefixtures("world")
def test_a_broken_plugin_that_is_not_enabled_is_no_error() -> None:
    assert routerd("--plugins", "good", "plugins").status == 0
    done = routerd("--plugins", "good", "plugins", "--all")
    assert "its library is missing" in done.out
    assert done.status == 0


def test_new_writes_a_project_and_says_what_is_next(tmp_path: Path) -> None:
    done = routerd("plugins", "new", "vxlan", "--family", "transport", "--into", tmp_path)
    assert (done.status, done.err) == (0, "")
    assert (tmp_path / "routerd-transport-vxlan" / "pyproject.toml").exists()
    assert f"cd {tmp_path}/routerd-transport-vxlan && pip install -e '.[testing]' && pytest" in done.out
    assert routerd("plugins", "new", "vxlan", "--family", "transport", "--into", tmp_path).status == 2


def test_new_needs_a_family() -> None:
    assert "--family" in routerd("plugins", "new", "vxlan").err
    assert list(plugins.COMMANDS) == ["new", "check"]
