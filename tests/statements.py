"""Count the statements of product code per package: `python -m tests.statements [REVISION]`.

A statement is an `ast.stmt` node of `core/routerd` or of `plugins/*/routerd_*`; files in a folder
`testing` do not count. With a revision the command prints that revision's figures beside those of
the working tree, and the change in percent.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
_PRODUCT = re.compile(r"(core/routerd|plugins/[^/]+/routerd_[^/]+)/(?!(.*/)?testing/).*\.py")


def package(path: str) -> str:
    """Return the package that a file's statements count for: `routerd.cli`, `cloud_aws`."""
    parts = path.split("/")
    if parts[0] == "plugins":
        return parts[1]
    return f"routerd.{parts[2]}" if len(parts) > 3 else "routerd"


def count(files: dict[str, str]) -> Counter[str]:
    """Return the number of statements per package; `files` maps paths to sources."""
    counts: Counter[str] = Counter()
    for path, source in files.items():
        counts[package(path)] += sum(isinstance(node, ast.stmt) for node in ast.walk(ast.parse(source)))
    return counts


def present() -> dict[str, str]:
    """Return the product files of the working tree."""
    listed = _git("ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    found = (path for path in listed if _PRODUCT.fullmatch(path) and (ROOT / path).is_file())
    return {path: (ROOT / path).read_text() for path in found}


def at(revision: str) -> dict[str, str]:
    """Return the product files of a revision."""
    listed = _git("ls-tree", "-r", "--name-only", revision).splitlines()
    return {path: _git("show", f"{revision}:{path}") for path in listed if _PRODUCT.fullmatch(path)}


def table(now: Counter[str], before: Counter[str] | None) -> str:
    """Return the figures as text, one package a line and the sum at the end."""
    names = sorted(now | before if before is not None else now)
    rows = [(name, now[name], before[name] if before is not None else None) for name in names]
    rows.append(("all", now.total(), before.total() if before is not None else None))
    return "\n".join(_row(*row) for row in rows)


def _row(name: str, now: int, before: int | None) -> str:
    if before is None:
        return f"{name:<24}{now:>8}"
    change = f"{(now - before) / before:+.1%}" if before else "new"
    return f"{name:<24}{before:>8}{now:>8}{change:>9}"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.statements", description="Count statements.")
    parser.add_argument("revision", nargs="?", help="compare the working tree with this revision")
    revision = parser.parse_args().revision
    before = count(at(revision)) if revision else None
    print(table(count(present()), before))  # noqa: T201 - a command


if __name__ == "__main__":
    main()
