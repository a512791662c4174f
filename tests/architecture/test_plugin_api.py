"""The public contract of plugins: its snapshot is true, and it changes only by the rule of its page."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from tests.architecture import tree
from tests.plugin_api.rule import CHANGELOG, COMMAND, GIVEN, RELEASED, SNAPSHOT, Snapshot, faults, step
from tests.plugin_api.snapshot import PUBLIC, public, snapshot

from routerd import spi

TEXT = snapshot()
PAGE = tree.ROOT / "docs" / "plugin-api.md"


def test_the_contract_has_not_changed_beside_its_rule() -> None:
    found = faults(
        present=TEXT,
        committed=SNAPSHOT.read_text() if SNAPSHOT.exists() else "# API 0.0\n",
        released=RELEASED.read_text() if RELEASED.exists() else None,
        changelog=CHANGELOG.read_text(),
    )
    assert not found, "\n".join(found)


def test_the_page_lists_the_public_modules_and_no_others() -> None:
    table = PAGE.read_text().partition("## What is public")[2].partition("\n\n## ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = [name for cell in cells for name in re.findall(r"`([\w.]+)`", cell)]
    whole = {f"routerd.testing{name}" if name.startswith(".") else name for name in named}
    assert whole == {*PUBLIC, "routerd"}


def test_the_page_names_what_the_core_gives() -> None:
    sentence = re.search(r"of what the core gives to a plugin \(([^)]*)\)", PAGE.read_text())
    assert sentence is not None
    assert set(re.findall(r"`(\w+)`", sentence[1])) == GIVEN <= set(spi.__all__)


def _annotations(found: ast.stmt) -> Iterator[str]:
    """Yield the names in the annotations of the public part of a statement."""
    for node in ast.walk(found):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if node.name.startswith("_") and node.name not in {"__init__", "__call__"}:
                continue
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            written = [node.returns, *(each.annotation for each in arguments)]
        elif isinstance(node, ast.AnnAssign):
            hidden = ast.unparse(node.target).removeprefix("self.").startswith("_")
            written = [] if hidden else [node.annotation]
        else:
            continue
        for annotation in written:
            for name in ast.walk(annotation) if annotation is not None else ():
                if isinstance(name, ast.Name):
                    yield name.id


@pytest.mark.parametrize("module", [name for name in PUBLIC if not name.startswith("routerd.testing")])
def test_a_public_signature_needs_only_public_names(module: str) -> None:
    names = public()
    known = {id(found.value) for each in names.values() for found in each}
    hidden = {
        f"{found.name}: {name}"
        for found in names[module]
        for name in _annotations(found.node)
        for value in [getattr(found.module, name, None)]
        if str(getattr(value, "__module__", "")).startswith("routerd")
        if not isinstance(value, TypeVar) and id(value) not in known
    }
    assert hidden == set()


def _strangers() -> list[Path]:
    """Return the modules of distributions that are written as strangers write them, tests included."""
    places = ("examples/plugins/", "tests/thirdparty/example_plugin/", "core/routerd/plugins/template/")
    found = [
        path
        for path in tree.files()
        if str(path.relative_to(tree.ROOT)).startswith(places)
        if path.name.endswith((".py", ".py.txt"))
    ]
    assert len(found) > 30
    return found


def _product() -> list[Path]:
    """Return the modules of the shipped plugins without those that they ship for tests."""
    return [
        path
        for name in tree.plugin_packages()
        if name != "lab"
        for path in tree.modules(f"plugins/{name}/routerd_{name}/")
        if "/testing/" not in str(path)
    ]


def test_a_plugin_imports_nothing_that_is_not_public() -> None:
    names = {module: {found.name for found in each} for module, each in public().items()}
    names["routerd"] = {"hookimpl"}
    for module in list(names):
        package, _, name = module.rpartition(".")
        names.setdefault(package, set()).add(name)
    wrong = []
    for path in [*_strangers(), *_product()]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and re.match(r"routerd(\.|$)", node.module or ""):
                taken = {alias.name for alias in node.names}
                known = names.get(node.module or "", set())
                wrong += [f"{path.name}: {node.module}.{name}" for name in sorted(taken - known)]
    assert wrong == []


# --- what a snapshot says --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "routerd.hookspecs.routerd_fabrics: def () -> Sequence[Provider[Fabric]]",
        "routerd.spi.MAX_PROOF: constant 16 * 1024",
        "routerd.spi.Capability: enum(enum.Enum)",
        "routerd.spi.Capability.ENCRYPTS: constant 'encrypts'",
        "routerd.spi.Link: value() @attrs.frozen(kw_only=True)",
        "routerd.spi.Link.kind: field str",
        "routerd.spi.Link.owner: property def () -> str | None",
        "routerd.spi.Table: protocol(Protocol[K, V])",
        "routerd.spi.Table.observe: async def () -> Mapping[K, V]",
        "routerd.spi.Proof.of: classmethod def (document: Mapping[str, JSONValue]) -> Proof",
        "routerd.errors.EnrollmentRefused.__init__: def (reason: str, message: str) -> None",
        "routerd.testing.contracts.ProviderContract.provider: fixture def () -> AnyProvider",
        "routerd.testing.contracts.TransportContract.test_an_empty_apply_is_a_success: rule",
        "routerd.testing.pytest_plugin.fake_clock: fixture def () -> FakeClock",
    ],
)
def test_a_snapshot_has_signatures_fields_members_fixtures_and_rules(line: str) -> None:
    assert line in TEXT.splitlines()


def test_a_step_of_the_version_is_not_itself_a_change() -> None:
    assert step(Snapshot.read(TEXT), Snapshot.read(snapshot((1, 1)))) == ("", [])
    assert "spi.API_VERSION" not in TEXT


def test_a_snapshot_has_nothing_private() -> None:
    lines = Snapshot.read(TEXT).lines
    assert len(lines) > 1000
    assert [
        name for name in lines if re.search(r"\._(?!_(init|call|aenter|aexit|iter|aiter)__$)", name)
    ] == []


# --- the rule, with made-up releases -----------------------------------------------------------------------

RELEASE = """\
# API 1.3
routerd.spi.Clock: protocol(Protocol)
routerd.spi.Clock.now: def () -> datetime
routerd.spi.Link: value() @attrs.frozen(kw_only=True)
routerd.spi.Link.name: field str
routerd.spi.Table: protocol(Protocol)
routerd.spi.Table.observe: async def () -> Mapping[K, V]
routerd.spi.judge: def (before: str, /, after: str='', *, us: str) -> Verdict
routerd.testing.contracts.TableContract.test_it_is_read: rule
"""
JUDGE = "routerd.spi.judge: def (before: str, /, after: str='', *, us: str) -> Verdict"
LINK = "routerd.spi.Link.name: field str"
LINES = {
    "1.3": "## Unreleased\n\n### Plugin API\n\n- API 1.3 is out.\n",
    "1.4": "## Unreleased\n\n### Plugin API\n\n- API 1.4: one thing more.\n\n### Core\n\n## 1.3\n",
    "2.0": "## Unreleased\n\n### Plugin API\n\n- API 2.0: one thing less.\n",
}

MINOR = [
    ("", "routerd.spi.Other: value() @attrs.frozen"),
    ("", "routerd.spi.Link.more: field int = 0"),
    ("", "routerd.spi.Link.more: field int = attrs.field(default=0)"),
    ("", "routerd.spi.Link.more: field int = attrs.field(init=False)"),
    ("", "routerd.spi.Clock.today: def () -> date"),
    ("", "routerd.testing.contracts.TableContract.test_more: rule"),
    ("routerd.testing.contracts.TableContract.test_it_is_read: rule\n", ""),
    (JUDGE, JUDGE.replace("us: str", "us: str, them: str=''")),
    (JUDGE, JUDGE.replace("after: str=''", "after: str='', present: str=''")),
    ("now: def ()", "now: def (zone: str='')"),
]
MAJOR = [
    (LINK + "\n", ""),
    (LINK, "routerd.spi.Link.name: field bytes"),
    ("", "routerd.spi.Link.more: field int"),
    ("", "routerd.spi.Link.more: field int = attrs.field(converter=int)"),
    ("", "routerd.spi.Table.forget: async def () -> None"),
    ("observe: async def ()", "observe: async def (whole: bool=True)"),
    ("value() @attrs.frozen(kw_only=True)", "value() @attrs.frozen"),
    ("now: def ()", "now: async def ()"),
    (JUDGE, JUDGE.replace("Verdict", "str")),
    (JUDGE, JUDGE.replace("us: str", "us: str, them: str")),
    (JUDGE, JUDGE.replace("*, us: str", "*, ours: str")),
    (JUDGE, JUDGE.replace("after: str=''", "present: str='', after: str=''")),
    (JUDGE, JUDGE.replace("after: str=''", "after: str='x'")),
]


def changed(before: str, after: str, version: str) -> str:
    """Return the made-up release with one change and a version."""
    assert before in RELEASE
    text = RELEASE.replace(before, after) if before else f"{RELEASE}{after}\n"
    return text.replace("# API 1.3", f"# API {version}")


def found(present: str, changelog: str, released: str | None = RELEASE) -> list[str]:
    return faults(present=present, committed=present, released=released, changelog=changelog)


@pytest.mark.parametrize(("before", "after"), MINOR)
def test_what_a_minor_version_may_add_needs_a_step_and_a_line(before: str, after: str) -> None:
    (version, line) = found(changed(before, after, "1.3"), LINES["1.4"])
    assert "the changes since 1.3 need 1.4 at least" in version
    assert "no line about API 1.3" in line
    (line,) = found(changed(before, after, "1.4"), LINES["1.3"])
    assert "CHANGELOG.md: no line about API 1.4" in line
    assert found(changed(before, after, "1.4"), LINES["1.4"]) == []
    assert found(changed(before, after, "2.0"), LINES["2.0"]) == []


@pytest.mark.parametrize(("before", "after"), MAJOR)
def test_what_breaks_a_plugin_needs_a_major_version(before: str, after: str) -> None:
    (version,) = found(changed(before, after, "1.4"), LINES["1.4"])
    assert "need 2.0 at least" in version
    assert found(changed(before, after, "2.0"), LINES["2.0"]) == []


def test_a_release_without_a_change_needs_nothing() -> None:
    assert found(RELEASE, "## Unreleased\n") == []
    assert step(Snapshot.read(RELEASE), Snapshot.read(RELEASE)) == ("", [])


def test_before_the_first_release_the_version_stays_and_a_line_is_needed() -> None:
    present = changed(*MAJOR[0], "1.3")
    assert found(present, LINES["1.3"], released=None) == []
    (line,) = found(present, "## Unreleased\n\n### Core\n\n- API 1.3\n", released=None)
    assert "in the part 'Plugin API'" in line


def test_a_line_of_an_earlier_release_does_not_count() -> None:
    changelog = "## Unreleased\n\n### Plugin API\n\n## 1.3\n\n### Plugin API\n\n- API 1.4: soon.\n"
    (line,) = found(changed(*MINOR[0], "1.4"), changelog)
    assert "no line about API 1.4" in line


def test_a_stale_file_says_what_has_changed_and_what_to_do() -> None:
    text = changed(*MAJOR[1], "1.3")
    (fault,) = faults(present=text, committed=RELEASE, released=None, changelog=LINES["1.3"])
    for words in (
        f"- {LINK}",
        "+ routerd.spi.Link.name: field bytes",
        "API_VERSION",
        "CHANGELOG.md",
        COMMAND,
    ):
        assert words in fault
