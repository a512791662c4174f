"""What other tests start as a program is collected by nobody: its imports are checked here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("routerd", "tests", "plugins")
SOURCES = sorted(
    path
    for place in (ROOT / "tests", *ROOT.glob("plugins/*/tests"))
    for path in place.rglob("*.py")
    if not path.name.startswith("test_")
)


def imported(source: Path) -> Iterator[tuple[int, str, str]]:
    """Yield line, module and name (or nothing) of each import of ours."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.lineno, node.module, alias.name) for alias in node.names)


def top_level(module: str) -> set[str]:
    """Return the names that a module or package has when it is imported, without importing it."""
    spec = find_spec(module)
    assert spec is not None, f"there is no module {module}"
    names = set()
    for directory in spec.submodule_search_locations or ():
        names |= {path.stem for path in Path(directory).iterdir()}
    if spec.origin is not None:
        for node in ast.walk(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
    return names


def test_there_is_something_to_check() -> None:
    assert len(SOURCES) > 50


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_it_imports_exists(source: Path) -> None:
    for line, module, name in imported(source):
        top = module.split(".")[0]
        # A distribution that is an example is not installed here.
        if not top.startswith(OURS) or find_spec(top) is None:
            continue
        found = top_level(module)
        assert not name or name in found, f"{source.name}, line {line}: {module} has no {name}"
