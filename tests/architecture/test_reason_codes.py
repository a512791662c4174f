"""Every code with which a claim can be refused is in the operator's table, and no other is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.architecture import tree

PAGE = tree.ROOT / "docs" / "enrollment.md"
CODE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+")

# Words of the same form that are no codes, each with what it is.
OTHER = {
    "100-continue": "a header of HTTP",
    "date-time": "a format of OpenAPI",
    "pair-stable": "an addressing mode",
    "router-id": "a sort of thing that a claim holds",
    "utf-8": "an encoding",
}
ONE_WORD = {"internal"}


def _refusing() -> Iterator[Path]:
    for path in tree.modules("core/", "plugins/"):
        where = str(path.relative_to(tree.ROOT))
        if "/tests/" in where or "/testing/" in where or "/cli/" in where:
            continue
        text = path.read_text()
        if "EnrollmentRefused" in text or "AuditEntry(" in text or "/control/" in where:
            yield path


def _codes(path: Path) -> set[str]:
    found = {
        node.value
        for node in ast.walk(tree.parsed(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return {text for text in found if CODE.fullmatch(text)} - set(OTHER)


def _listed() -> set[str]:
    part = PAGE.read_text().partition("\n## Reason codes\n")[2]
    cells = [line.split("|")[1] for line in part.splitlines() if line.startswith("| `")]
    return {code for cell in cells for code in re.findall(r"`([a-z0-9-]+)`", cell)} - ONE_WORD


def test_every_reason_code_is_explained() -> None:
    used = {code for path in _refusing() for code in _codes(path)}
    assert used - _listed() == set(), f"missing in {PAGE.name}"


def test_no_code_is_explained_that_nobody_uses() -> None:
    used = {code for path in _refusing() for code in _codes(path)}
    assert _listed() - used == set(), f"not in the source any more, see {PAGE.name}"
