"""How the public contract may change: what a minor version may do, and what must go with a change."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[2]
SNAPSHOT = ROOT / "docs" / "api-snapshot"
RELEASED = ROOT / "docs" / "api-snapshot-released"
CHANGELOG = ROOT / "CHANGELOG.md"

HEADING = "Plugin API"
COMMAND = "python -m tests.plugin_api"

GIVEN = frozenset({"Clock", "Kernel", "Logger", "Pacer", "Pacing", "Spawn"})
"""The protocols that the core implements; they may get more methods."""

_SHOWN = 8


@attrs.frozen(kw_only=True)
class Snapshot:
    """A snapshot read: the version of the contract, and the rest of the line of each name."""

    version: tuple[int, int]
    lines: Mapping[str, str]

    @classmethod
    def read(cls, text: str) -> Snapshot:
        """Read a text of `snapshot`."""
        first, *lines = text.splitlines()
        major, _, minor = first.removeprefix("# API ").partition(".")
        pairs = (line.partition(": ") for line in lines)
        return cls(version=(int(major), int(minor)), lines={name: said for name, _, said in pairs})


def faults(*, present: str, committed: str, released: str | None, changelog: str) -> list[str]:
    """Return what is missing, each with its remedy.

    `present` is the snapshot of the source, `committed` the file, `released` that of the last release.
    """
    return [
        *_stale(present, committed),
        *([] if released is None else _unstepped(Snapshot.read(released), Snapshot.read(present))),
        *_unmentioned(present, released, changelog),
    ]


def _stale(present: str, committed: str) -> Iterator[str]:
    if present == committed:
        return
    was, now = set(committed.splitlines()), set(present.splitlines())
    lines = [f"- {line}" for line in sorted(was - now)] + [f"+ {line}" for line in sorted(now - was)]
    more = [f"and {len(lines) - _SHOWN} lines more"] if len(lines) > _SHOWN else []
    shown = "\n  ".join([*lines[:_SHOWN], *more] or ["the order of its lines"])
    yield (
        f"docs/{SNAPSHOT.name}: not what the source says; a public signature has changed:\n  {shown}\n"
        f"if a release has the old one, step API_VERSION (core/routerd/spi/provider.py); add a line under "
        f"{HEADING!r} in CHANGELOG.md; run {COMMAND}"
    )


def _unstepped(released: Snapshot, present: Snapshot) -> Iterator[str]:
    wanted, why = step(released, present)
    if not wanted:
        return
    major, minor = released.version
    least = (major + 1, 0) if wanted == "major" else (major, minor + 1)
    if present.version < least:
        shown = "\n  ".join(why[:_SHOWN])
        yield (
            f"API_VERSION: {_dotted(present.version)}; the changes since {_dotted(released.version)} need "
            f"{_dotted(least)} at least:\n  {shown}\nset it in core/routerd/spi/provider.py, or undo them"
        )


def _unmentioned(present: str, released: str | None, changelog: str) -> Iterator[str]:
    if present == released:
        return
    version = _dotted(Snapshot.read(present).version)
    section = re.search(r"^## Unreleased$(.*?)(?=^## |\Z)", changelog, re.DOTALL | re.MULTILINE)
    part = section and re.search(rf"^### {HEADING}$(.*?)(?=^### |\Z)", section[1], re.DOTALL | re.MULTILINE)
    if part is None or not re.search(rf"^- .*\bAPI {re.escape(version)}\b", part[1], re.MULTILINE):
        yield (
            f"CHANGELOG.md: no line about API {version}; under Unreleased, in the part {HEADING!r}, say what "
            f"has changed: `- API {version}: ...`"
        )


def step(released: Snapshot, present: Snapshot) -> tuple[str, list[str]]:
    """Return the step that the changes need (`major`, `minor` or nothing), and the changes."""
    found: dict[str, list[str]] = {"major": [], "minor": []}
    for name in sorted(released.lines.keys() | present.lines.keys()):
        before, after = released.lines.get(name), present.lines.get(name)
        if before == after:
            continue
        small = _is_small(name, before, after, released)
        sign = "removed" if after is None else "added" if before is None else "changed"
        found["minor" if small else "major"].append(f"{sign}: {name}")
    return next(((size, changes) for size, changes in found.items() if changes), ("", []))


def _is_small(name: str, before: str | None, after: str | None, released: Snapshot) -> bool:
    """Say whether a minor version may make a change."""
    if "rule" in (before, after):
        return True  # the core relied on it before; or it relies on it no longer
    if after is None:
        return False
    owner = name.rpartition(".")[0]
    said = released.lines.get(owner, "")
    implemented = said.startswith("protocol") and owner.rpartition(".")[2] not in GIVEN
    if before is None:
        fixed = said.startswith("value") and after.startswith("field") and not _has_default(after)
        return not (implemented or fixed)
    return not implemented and _only_more_parameters(before, after)


def _has_default(field: str) -> bool:
    """Say whether a caller may leave the field out."""
    _, _, value = field.partition(" = ")
    called = value.startswith(("attrs.field(", "field("))
    return bool(value) and (
        not called or any(word in value for word in ("default=", "factory=", "init=False"))
    )


def _only_more_parameters(before: str, after: str) -> bool:
    """Say whether a function got nothing but parameters that its callers may leave out."""
    old, new = _signature(before), _signature(after)
    if old is None or new is None or old[0] != new[0] or old[2] != new[2]:
        return False
    had, has = old[1], new[1]
    kept = [each for each in has if each in had]
    added = [each for each in has if each not in had]
    first_added = next(
        (at for at, each in enumerate(has) if each not in had and each[0] == "positional"), None
    )
    last_kept = max(
        (at for at, each in enumerate(has) if each in had and each[0] == "positional"), default=-1
    )
    in_order = first_added is None or first_added > last_kept
    return kept == had and in_order and all(default is not None for _, _, default in added)


_Parameter = tuple[str, str, str | None]


def _signature(text: str) -> tuple[str, list[_Parameter], str] | None:
    """Return the kind, the parameters (how, name and type, default) and the type of what comes back."""
    match = re.fullmatch(r"([\w ]*def) (\(.*\))( -> .*)?", text)
    if match is None:
        return None
    (node,) = ast.parse(f"def f{match[2]}: ...").body
    assert isinstance(node, ast.FunctionDef)
    given = node.args
    places = [*given.posonlyargs, *given.args]
    values: list[ast.expr | None] = [None] * (len(places) - len(given.defaults)) + list(given.defaults)
    found: list[_Parameter] = [
        ("positional", ast.unparse(each), None if value is None else ast.unparse(value))
        for each, value in zip(places, values, strict=True)
    ]
    found += [
        ("keyword", ast.unparse(each), None if value is None else ast.unparse(value))
        for each, value in zip(given.kwonlyargs, given.kw_defaults, strict=True)
    ]
    found += [
        (how, ast.unparse(each), "")
        for how, each in (("rest", given.vararg), ("names", given.kwarg))
        if each is not None
    ]
    return match[1], found, match[3] or ""


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
