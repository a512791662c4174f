"""What is public is documented, and what is documented is true."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
from tests.architecture import tree

from routerd import hookspecs, spi
from routerd.cli.main import COMMANDS
from routerd.testing import contracts
from routerd_lab.graph import draw
from routerd_lab.topology import FULLMESH

GUIDE = tree.ROOT / "docs" / "writing-a-plugin.md"
API = tree.ROOT / "docs" / "plugin-api.md"
TEXT = API.read_text()
README = (tree.ROOT / "README.md").read_text()
BLOCK = re.compile(r"^`([\w./-]+)`\n\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)
HOOKS = [name for name in vars(hookspecs) if name.startswith("routerd_")]


def test_every_file_of_the_guide_is_the_one_that_is_tested() -> None:
    blocks = dict(BLOCK.findall(GUIDE.read_text()))
    tested = {
        str(path.relative_to(tree.EXAMPLE)): path.read_text()
        for path in tree.files()
        if path.is_relative_to(tree.EXAMPLE) and path.suffix in {".py", ".toml", ".md"}
    }
    assert blocks == tested


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_documented(hook: str) -> None:
    assert f"`{hook}`" in TEXT
    assert (getattr(hookspecs, hook).__doc__ or "").strip()


# Hooks that only plugins outside of this repository need so far, each with the reason to keep it.
FOR_OTHERS = {
    "routerd_subsystems": "a plugin of no other family cannot be written without it",
    "routerd_control_routes": "a plugin that can be asked something cannot be written without it",
}


def test_a_hook_is_used_or_its_reason_is_written_down() -> None:
    used = {
        node.name
        for path in tree.modules("plugins/")
        for node in ast.walk(tree.parsed(path))
        if isinstance(node, ast.FunctionDef)
    }
    assert set(HOOKS) - used <= set(FOR_OTHERS)


@pytest.mark.parametrize("name", spi.__all__)
def test_a_public_name_is_documented(name: str) -> None:
    assert re.search(rf"`{name}`", TEXT), f"{name} is missing in {API.name}"


@pytest.mark.parametrize("name", [name for name in contracts.__all__ if name.endswith("Contract")])
def test_a_contract_suite_is_documented(name: str) -> None:
    internal = {"ProviderContract", "ProviderTablesContract"}
    assert name in internal or f"`{name}`" in TEXT


@pytest.mark.parametrize("name", tree.plugin_packages())
def test_a_plugin_has_a_readme_that_says_something(name: str) -> None:
    text = (tree.ROOT / "plugins" / name / "README.md").read_text()
    assert len(text.splitlines()) >= 5, f"plugins/{name}/README.md is empty"


@pytest.mark.parametrize("name", ["leaf", "rr"])
def test_the_files_in_the_readme_are_the_examples(name: str) -> None:
    assert f"```yaml\n{(tree.ROOT / 'examples' / f'{name}.yaml').read_text()}```" in README


def test_the_picture_is_what_the_lab_draws() -> None:
    assert (tree.ROOT / "docs" / "fullmesh.svg").read_text() == draw(FULLMESH)


def test_every_command_is_documented() -> None:
    text = README + (tree.ROOT / "docs" / "host.md").read_text()
    assert [name for name in COMMANDS if f"routerd {name}" not in text] == []


PAGES = [path for path in tree.files() if path.suffix == ".md"]
LINK = re.compile(r"\]\(([^)#:]+)\)")
SOURCE = re.compile(r"`([\w./-]+\.py)`")


def test_pages_name_source_files() -> None:
    assert any(SOURCE.search(page.read_text()) for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(tree.ROOT)))
def test_a_source_file_that_a_page_names_exists(page: Path) -> None:
    known = [f"/{path.relative_to(tree.ROOT)}" for path in tree.files() if path.suffix == ".py"]
    named = SOURCE.findall(page.read_text())
    assert [name for name in named if not any(path.endswith(f"/{name}") for path in known)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(tree.ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    lost = [target for target in LINK.findall(page.read_text()) if not (page.parent / target).exists()]
    assert lost == []


def test_the_page_on_costs_has_a_row_for_each_library_of_the_daemon_and_of_the_clouds() -> None:
    page = (tree.ROOT / "docs" / "footprint.md").read_text()
    rows = {row.split("|")[1] for row in page.splitlines() if row.startswith("|")}
    files = [tree.ROOT / "pyproject.toml", *sorted((tree.ROOT / "plugins").glob("cloud_*/pyproject.toml"))]
    assert len(files) == 5
    for file in files:
        for line in tomllib.loads(file.read_text())["project"]["dependencies"]:
            library = re.split(r"[\[<>=~ ]", line)[0]
            if library != "routerd":
                assert any(f"`{library}`" in row for row in rows), f"{library} of {file} has no row"
