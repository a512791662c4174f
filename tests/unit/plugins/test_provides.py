"""What a distribution says that its plugin provides is what the plugin provides."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from tests.architecture import tree

from routerd.plugins.host import PluginHost
from routerd.plugins.installed import PROVIDES_GROUP

SHIPPED = sorted((tree.ROOT / "plugins").glob("*/pyproject.toml"))


def test_every_shipped_plugin_is_known() -> None:
    assert len(SHIPPED) >= 9


@pytest.mark.parametrize("file", SHIPPED, ids=[file.parent.name for file in SHIPPED])
def test_a_distribution_says_what_its_plugin_provides(file: Path) -> None:
    name = file.parent.name
    project = tomllib.loads(file.read_text())["project"]
    (plugin,) = PluginHost.load([name]).plugins
    families = {
        "transport": plugin.transports,
        "routing": plugin.routings,
        "join-method": plugin.enrollments,
        "cloud": plugin.fabrics,
        "subsystem": plugin.subsystems,
    }
    provided = {f"{family}.{each.kind}" for family, all_of in families.items() for each in all_of}
    # A command of the plugin's own name is found without a word.
    provided |= {f"command.{each.name}" for each in plugin.commands if each.name != name}
    module = project["entry-points"]["routerd.plugins.v1"][name]
    said = project["entry-points"].get(PROVIDES_GROUP, {})
    assert said == dict.fromkeys(provided, module)
