"""The journeys that `docs/design` draws lead through functions that exist, and stay as short as promised.

The format of such a page:

- A journey is a table whose header begins with `| Hop |`. A page may hold several.
- The line above the table, after blank lines, names its limit and its own figures:
  `At most 25 hops: 24 hops, 14 files.` Both figures are compared with the table.
- The first column numbers the rows 1, 2, 3 ... A row that continues another table may begin at any number:
  `At most 32 hops: 30 hops, 16 files, hops 1 to 18 as above.` takes the first 18 rows of the page's first
  journey, and the table goes on with 19.
- The second column names the function as `` `file.py:function` `` or `` `file.py:Class.method` ``, the path
  from the top of the repository. A name in another column is checked as well, and is not a hop.

A hop is a function that carries the datum or changes it: it takes it from its caller, a queue or a socket and
hands it on. A function that only answers a question about it is named in the row of the function that asks.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import attrs
import pytest
from tests.architecture import tree

PAGES = sorted((tree.ROOT / "docs" / "design").glob("*.md"))
NAME = re.compile(r"`([\w./-]+\.py):([\w.]+)`")
FIGURES = re.compile(r"At most (\d+) hops: (\d+) hops, (\d+) files(?:, hops 1 to (\d+) as above)?\.")


@attrs.frozen(kw_only=True)
class Journey:
    """One table: the figures above it, its rows as text, and the rows that it takes from the first one."""

    most: int
    hops: int
    files: int
    rows: tuple[str, ...]
    before: tuple[str, ...] = ()

    @property
    def all_rows(self) -> tuple[str, ...]:
        """Return the whole way."""
        return self.before + self.rows


def journeys(text: str) -> list[Journey]:
    """Return the journeys of a page; `ValueError` for a table without figures."""
    found: list[Journey] = []
    above = ""
    lines = iter(text.splitlines())
    for line in lines:
        if not line.startswith("| Hop |"):
            above = line if line.strip() else above
            continue
        figures = FIGURES.search(above)
        if figures is None:
            raise ValueError(f"no figures above a journey, but {above!r}")
        next(lines)  # the rule below the header
        rows: list[str] = []
        for row in lines:
            if not row.startswith("|"):
                break
            rows.append(row)
        most, hops, files, shared = figures.groups()
        before = found[0].rows[: int(shared)] if shared else ()
        found.append(
            Journey(most=int(most), hops=int(hops), files=int(files), rows=tuple(rows), before=before)
        )
    return found


def functions(path: Path) -> set[str]:
    """Return the functions of a module and the methods of its classes, as `name` and `Class.name`."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            methods = (each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
            names |= {f"{node.name}.{each.name}" for each in methods}
    return names


def cells(row: str) -> list[str]:
    """Return the columns of a row."""
    return [each.strip() for each in row.strip().strip("|").split("|")]


def test_the_journeys_are_there() -> None:
    assert {"learned-route.md"} <= {page.name for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
class TestPage:
    def test_it_has_a_journey_and_every_journey_has_rows(self, page: Path) -> None:
        found = journeys(page.read_text())
        assert found
        assert all(journey.rows for journey in found)

    def test_the_hops_are_numbered_and_within_the_figure(self, page: Path) -> None:
        found = journeys(page.read_text())
        assert found
        for journey in found:
            numbers = [int(cells(row)[0]) for row in journey.all_rows]
            assert numbers == list(range(1, len(numbers) + 1))
            assert len(numbers) == journey.hops <= journey.most

    def test_the_files_are_counted(self, page: Path) -> None:
        found = journeys(page.read_text())
        assert found
        for journey in found:
            hops = [NAME.match(cells(row)[1]) for row in journey.all_rows]
            assert all(hops), "a row without a function"
            assert len({hop.group(1) for hop in hops if hop is not None}) == journey.files

    def test_every_function_that_it_names_exists(self, page: Path) -> None:
        named = NAME.findall(page.read_text())
        assert named
        missing = [
            f"{file}:{name}"
            for file, name in named
            if not (tree.ROOT / file).is_file() or name not in functions(tree.ROOT / file)
        ]
        assert missing == []


GOOD = """
At most 2 hops: 2 hops, 1 files.

| Hop | Function | What |
|---|---|---|
| 1 | `a.py:f` | x |
| 2 | `a.py:C.g` | x |

At most 3 hops: 2 hops, 2 files, hops 1 to 1 as above.

| Hop | Function | What |
|---|---|---|
| 2 | `b.py:f` | x |
"""


def test_a_second_journey_takes_the_beginning_of_the_first() -> None:
    first, second = journeys(GOOD)
    assert [cells(row)[1] for row in second.all_rows] == ["`a.py:f`", "`b.py:f`"]
    assert (first.most, second.most, second.hops, second.files) == (2, 3, 2, 2)


def test_a_table_without_figures_is_an_error() -> None:
    with pytest.raises(ValueError, match="no figures"):
        journeys(GOOD.replace("At most 2 hops: 2 hops, 1 files.", "Two hops."))


def test_methods_and_functions_are_told_apart() -> None:
    names = functions(Path(__file__))
    assert {"journeys", "Journey.all_rows", "TestPage.test_the_files_are_counted"} <= names
    assert "all_rows" not in names
