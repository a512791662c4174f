"""The projects that `routerd plugins new` writes; tests/thirdparty runs their tests."""

from __future__ import annotations

import ast
import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import get_args

import pytest

from routerd.errors import PluginError
from routerd.plugins import installed
from routerd.plugins.scaffold import FAMILIES, PREFIX, Family, new_project


@pytest.mark.parametrize("family", FAMILIES)
def test_a_project_names_only_itself(family: Family, tmp_path: Path) -> None:
    project = new_project("vxlan", family, tmp_path)
    files = [path for path in project.rglob("*") if path.is_file()]
    texts = {path.relative_to(project): path.read_text() for path in files}
    assert len(texts) >= 6
    for path, text in texts.items():
        assert not re.search(r"acme|@[A-Z]+@", f"{path} {text}", re.IGNORECASE), path
        if path.suffix == ".py":
            ast.parse(text)
    plugin = f"{PREFIX[family]}_vxlan"
    project_file = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert project_file["entry-points"]["routerd.plugins.v1"] == {plugin: f"routerd_{plugin}.plugin"}
    ((provided, module),) = project_file["entry-points"]["routerd.provides.v1"].items()
    assert provided.partition(".")[0] in get_args(installed.Family)
    assert (provided.partition(".")[2], module) == ("vxlan", f"routerd_{plugin}.plugin")
    assert (project / f"routerd_{plugin}" / "plugin.py").exists()
    assert "api=(1, 0)" in (project / f"routerd_{plugin}" / "plugin.py").read_text()


@pytest.mark.parametrize("name", ["", "Vxlan", "a-b", "1a", "a b", "../x", "class"])
def test_a_name_that_cannot_be_one_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="is not a name for a plugin; use small letters"):
        new_project(name, "fabric", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_project_that_exists_is_left_alone(tmp_path: Path) -> None:
    project = new_project("mine", "routing", tmp_path)
    (project / "README.md").write_text("my own")
    with pytest.raises(PluginError, match="it exists already"):
        new_project("mine", "routing", tmp_path)
    assert (project / "README.md").read_text() == "my own"


def test_every_template_is_a_file_of_text() -> None:
    template = Path(str(resources.files("routerd.plugins") / "template"))
    files = [path for path in template.rglob("*") if path.is_file()]
    assert len(files) >= 20
    assert {path.suffix for path in files} == {".txt"}
