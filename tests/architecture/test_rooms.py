"""Every folder and every class stays small enough to be known, and no two modules need each other."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest
from tests.architecture import tree

MOST_FILES = 15
MOST_METHODS = 20
PRODUCT = ("core/routerd/", "plugins/")


def product(*below: str) -> list[Path]:
    """Return the modules of the product below the folders, without tests."""
    found = [path for path in tree.modules(*below) if "/tests/" not in str(path)]
    assert found, f"nothing below {below}"
    return found


def test_no_folder_of_core_holds_more_files_than_a_reader_remembers() -> None:
    counts = Counter(str(path.parent.relative_to(tree.ROOT)) for path in product("core/routerd/"))
    assert {folder: count for folder, count in counts.items() if count > MOST_FILES} == {}


@pytest.mark.parametrize("below", ["core/routerd/", "plugins/bgp_ryu/"])
def test_no_class_is_a_switchboard(below: str) -> None:
    large = {}
    for path in product(below):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                methods = [
                    each for each in node.body if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))
                ]
                if len(methods) > MOST_METHODS:
                    large[f"{path.relative_to(tree.ROOT)}:{node.name}"] = len(methods)
    assert large == {}


def test_no_two_modules_import_each_other_whatever_the_way() -> None:
    names = {module_name(path): path for path in product(*PRODUCT)}
    edges = {name: {to for to in imported(name, path, names) if to != name} for name, path in names.items()}
    assert any(edges.values())
    assert circles(edges) == []


def module_name(path: Path) -> str:
    parts = path.relative_to(tree.ROOT).with_suffix("").parts
    start = 1 if parts[0] == "core" else 2
    return ".".join(parts[start:]).removesuffix(".__init__")


def imported(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """Return the modules that a module imports; a package counts only when nothing below it is named."""
    found = set(tree.imports(path)) & known.keys()
    return {each for each in found if each != name and not any(
        other.startswith(f"{each}.") for other in found if known[each].name == "__init__.py"
    )}  # fmt: skip


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected parts of more than one module (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for to in edges[node]:
            if to not in index:
                visit(to)
                low[node] = min(low[node], low[to])
            elif to in stack:
                low[node] = min(low[node], index[to])
        if low[node] == index[node]:
            part = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(part) > 1:
                found.append(sorted(part))

    for node in edges:
        if node not in index:
            visit(node)
    return found


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []
