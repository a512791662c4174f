"""docs/configuration.md lists every kind and field of the file, and no other."""

import re
from pathlib import Path

import pytest

from routerd.config.kinds import BUILTIN
from routerd.config.structure import fields_of
from routerd.model.resource import ResourceKind

TEXT = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("kind", BUILTIN, ids=lambda kind: kind.kind)
def test_every_kind_and_every_field_is_documented(kind: ResourceKind) -> None:
    section = SECTIONS[kind.kind]
    missing = {key for key in fields_of(kind.spec) if not re.search(rf"`{key}`|`{key}[.\[]", section)}
    # A set of nodes has one field, whose items the section lists.
    assert missing <= ({"nodes"} if "`nodes[]`" in section else set())


@pytest.mark.parametrize("kind", BUILTIN, ids=lambda kind: kind.kind)
def test_the_first_column_names_only_what_exists(kind: ResourceKind) -> None:
    rows = re.findall(r"^\| (`.*?) \|", SECTIONS[kind.kind], re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    known = set(fields_of(kind.spec))
    if kind.kind == "SAMNodeSet":
        from routerd.model.specs.mobility import NodeSpec

        known = set(fields_of(NodeSpec))
    assert named <= known


def test_each_kind_is_documented_under_its_group() -> None:
    groups = re.split(r"^## Group (\w+) ", TEXT, flags=re.MULTILINE)
    assert len(groups) > 1
    for name, section in zip(groups[1::2], groups[2::2], strict=True):
        stands = set(re.findall(r"^### (\w+)$", section, re.MULTILINE))
        assert stands == {kind.kind for kind in BUILTIN if kind.api_version.startswith(f"{name}.")}
