"""The sentences of the repository, and the constructions that they avoid.

`python -m tests.architecture.voice` prints each place as FILE:LINE.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
from tests.architecture import tree

# Each construction with the way out. `\s+` also sees the one that a line break cuts.
CONSTRUCTIONS = {
    r"(?i)\b(?:for|from|to|of|than|as)\s+whom?\b": "name the actor: 'for a leaf that', not 'for who'",
    r"(?i)\bit\s+is\s+(?:looked|asked|said|told|tried)\b": "name the actor: 'the loop retries'",
    r"(?i)(?<!\bthere\s)\b(?:is|are)\s+no\s+(?!longer\b|more\b)(?=[\w{`*\"'])": "negate the verb: 'is not a'",
    r"(?i)\b(?:is|are)\s+none\s+of\b": "negate the verb: 'does not belong to'",
    r"(?i)\b(?:anew|by\s+then|for\s+ever)\b": "use the field's words: again, expired, permanently",
    r"\b(?:Who|Whoever)\b(?![^.!?|\n]*\?)": "name the actor: 'A client that', not 'Who'",
}
PATTERNS = {re.compile(text): cure for text, cure in CONSTRUCTIONS.items()}


@attrs.frozen(kw_only=True)
class Place:
    """A construction to avoid in a file."""

    file: str
    line: int
    words: str
    cure: str

    def __str__(self) -> str:
        """Return it as an editor reads it."""
        return f"{self.file}:{self.line}: {self.words!r}: {self.cure}"


def _texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each text of a file with its first line: whole pages, literals of Python, comments of YAML."""
    text = path.read_text()
    if path.suffix == ".py":
        yield from _literals(text, docstrings_only="tests" in path.relative_to(tree.ROOT).parts)
    elif path.suffix == ".md":
        yield 1, text
    else:
        # One text, so that a sentence over two lines of comment is one; other lines are left empty.
        lines = [line.partition("#")[2] if "#" in line else "" for line in text.splitlines()]
        yield 1, "\n".join(lines)


def _literals(source: str, *, docstrings_only: bool) -> Iterator[tuple[int, str]]:
    module = ast.parse(source)
    inside = {
        id(part) for node in ast.walk(module) if isinstance(node, ast.JoinedStr) for part in node.values
    }
    for node in ast.walk(module):
        if docstrings_only:
            documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
            if isinstance(node, documented) and ast.get_docstring(node, clean=False):
                yield node.body[0].lineno, ast.get_docstring(node, clean=False) or ""
        elif isinstance(node, ast.JoinedStr):
            parts = [str(p.value) if isinstance(p, ast.Constant) else "{}" for p in node.values]
            yield node.lineno, "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.lineno, node.value


def find(text: str) -> list[tuple[int, str, str]]:
    """Return each construction in a text: the offset of its line, its words, the way out."""
    return sorted(
        (
            text.count("\n", 0, match.start()),
            " ".join(text[max(0, match.start() - 25) : match.end() + 30].split()),
            cure,
        )
        for pattern, cure in PATTERNS.items()
        for match in pattern.finditer(text)
    )


def pages() -> list[Path]:
    """Return the files that hold sentences."""

    def holds(path: Path) -> bool:
        where = path.relative_to(tree.ROOT)
        if path.suffix == ".py":
            own = {"voice.py", "test_voice.py"}
            return where.parts[0] in {"core", "plugins", "tests"} and path.name not in own
        return path.suffix == ".md" or where.parts[0] in {"examples", "packaging"}

    return sorted(path for path in tree.files() if holds(path))


def places() -> list[Place]:
    """Return every construction to avoid in the repository."""
    return [
        Place(file=str(path.relative_to(tree.ROOT)), line=first + offset, words=words, cure=cure)
        for path in pages()
        for first, text in _texts(path)
        for offset, words, cure in find(text)
    ]


def main() -> None:
    """Print each place."""
    found = places()
    sys.stdout.writelines(f"{line}\n" for line in [*found, f"{len(found)} places"])


if __name__ == "__main__":
    main()
