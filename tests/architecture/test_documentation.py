"""What is public is documented, and what is documented is true."""

from __future__ import annotations

import ast
import re

import pytest
import tree

from routerd import hookspecs, spi
from routerd.testing import contracts

GUIDE = tree.ROOT / "docs" / "writing-a-plugin.md"
TEXT = GUIDE.read_text()
BLOCK = re.compile(r"^`([\w./-]+)`\n\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)
HOOKS = [name for name in vars(hookspecs) if name.startswith("routerd_")]


def test_every_file_of_the_guide_is_the_one_that_is_tested() -> None:
    blocks = dict(BLOCK.findall(TEXT))
    tested = {
        str(path.relative_to(tree.EXAMPLE)): path.read_text()
        for path in tree.files()
        if path.is_relative_to(tree.EXAMPLE) and path.suffix in {".py", ".toml"}
    }
    assert blocks == tested


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_documented(hook: str) -> None:
    assert f"`{hook}`" in TEXT
    assert (getattr(hookspecs, hook).__doc__ or "").strip()


# Hooks that only plugins outside of this repository need so far, each with the reason to keep it.
FOR_OTHERS = {
    "routerd_resource_kinds": "a plugin that has resources of its own cannot be written without it",
    "routerd_control_routes": "a plugin that can be asked something cannot be written without it",
}


def test_a_hook_is_used_or_its_reason_is_written_down() -> None:
    used = {
        node.name
        for path in tree.modules("plugins/")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    assert set(HOOKS) - used <= set(FOR_OTHERS)


@pytest.mark.parametrize("name", spi.__all__)
def test_a_public_name_is_documented(name: str) -> None:
    assert re.search(rf"`{name}`", TEXT), f"{name} is missing in {GUIDE.name}"


@pytest.mark.parametrize("name", [name for name in contracts.__all__ if name.endswith("Contract")])
def test_a_contract_suite_is_documented(name: str) -> None:
    internal = {"ProviderContract", "ProviderTablesContract"}
    assert name in internal or f"`{name}`" in TEXT


@pytest.mark.parametrize("name", tree.plugin_packages())
def test_a_plugin_has_a_readme_that_says_something(name: str) -> None:
    text = (tree.ROOT / "plugins" / name / "README.md").read_text()
    assert len(text.splitlines()) >= 5, f"plugins/{name}/README.md is empty"
