"""What the architecture tests look at: the files of the repository and the imports in them."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "tests" / "thirdparty" / "example_plugin"


@cache
def files() -> list[Path]:
    """Return the files that git knows or would add, so that what is built or cached plays no part."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    found = [path for path in (ROOT / line for line in done.stdout.splitlines()) if path.is_file()]
    assert found, "git knows no file"
    return found


def modules(*below: str) -> list[Path]:
    """Return the Python files below the folders; product code only when `tests` is not among them."""
    found = [path for path in files() if path.suffix == ".py"]
    chosen = [path for path in found if str(path.relative_to(ROOT)).startswith(below)]
    assert chosen, f"no module is below {below}"
    return chosen


@cache
def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text())


def imports(path: Path) -> Iterator[str]:
    """Yield the name of each module that a file imports, also inside of functions."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def plugin_packages() -> dict[str, Path]:
    """Return the package folder of each plugin by the plugin's name."""
    return {path.name: path / f"routerd_{path.name}" for path in sorted((ROOT / "plugins").iterdir())
            if (path / "pyproject.toml").is_file()}  # fmt: skip
