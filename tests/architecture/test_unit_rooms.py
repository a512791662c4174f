"""Unit tests live in the room that they prove; the measured suites exist."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.architecture import tree
from tests.mutate.suites import SUITES

CORE = tree.ROOT / "core" / "routerd"
UNIT = tree.ROOT / "tests" / "unit"


def rooms(place: Path) -> set[str]:
    """Return the folders of a place that hold modules, at any depth."""
    inside = (path.relative_to(place) for path in tree.modules(f"{place.relative_to(tree.ROOT)}/"))
    return {path.parts[0] for path in inside if len(path.parts) > 1}


def test_the_folders_of_unit_tests_are_the_rooms_of_core() -> None:
    assert rooms(UNIT) == rooms(CORE)


@pytest.mark.parametrize("room", sorted(rooms(UNIT)))
def test_each_module_of_unit_tests_uses_its_room(room: str) -> None:
    strangers = []
    for path in tree.modules(f"tests/unit/{room}/test_"):
        near = (f"routerd.{room}", f"tests.unit.{room}")
        direct = any(
            name == each or name.startswith(f"{each}.") for name in tree.imports(path) for each in near
        )
        # A test that starts a process names its module in the command.
        if not direct and f'"tests.unit.{room}.' not in path.read_text():
            strangers.append(path.name)
    assert strangers == []


@pytest.mark.parametrize("part", SUITES)
def test_a_measured_part_and_its_suites_exist(part: str) -> None:
    assert SUITES[part]
    assert [path for path in (part, *SUITES[part]) if not (tree.ROOT / path).exists()] == []
