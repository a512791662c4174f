"""The fenced blocks of a page, and what the comment above each says about it.

- none: YAML and JSON are read; commands must say one of the next two.
- `<!-- run: on=HOST in=FOLDER exit=N until background -->`: executed on that host, by default in the root
  of the repository and with exit status 0. `until` repeats it until it does what the page says;
  `background` does not wait for its end.
- `<!-- shown: REASON -->`: commands that are not executed, for this reason.
- `<!-- output -->`: a `text` block that is the output of the block before.
- `<!-- given: on=HOST` with lines of commands up to `-->`: commands that a reader does not need.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[2]
COMMANDS = {"sh", "console"}
LANGUAGES = COMMANDS | {"yaml", "json", "python", "toml", "text"}
_COMMENT = re.compile(r"^\s*<!--\s*(shown|run|output|given)\b:?\s*(.*?)\s*-->\s*$", re.DOTALL)
_FENCE = re.compile(r"^(\s*)```(\w*)\s*$")


@attrs.frozen(kw_only=True)
class Block:
    """A fenced block. `line` is that of its first line of content; `note` the kind of its comment."""

    page: Path
    line: int
    language: str
    text: str
    note: str = ""
    reason: str = ""
    options: dict[str, str] = attrs.field(factory=dict)

    def __str__(self) -> str:
        """Return where it is."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def executed(self) -> bool:
        """Return whether it holds commands that run."""
        return self.note == "given" or (self.language in COMMANDS and self.note != "shown")

    @property
    def host(self) -> str:
        """Return the host that it runs on."""
        return self.options.get("on", "host")


def pages() -> list[Path]:
    """Return the pages whose commands are executed."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page in their order; a `given` comment is one too."""
    lines = page.read_text().splitlines()
    note, at = ("", "", {}), 0
    while at < len(lines):
        if lines[at].lstrip().startswith("<!--"):
            first = at
            while "-->" not in lines[at]:
                at += 1
            note = _note("\n".join(lines[first : at + 1]), page, first + 1)
            if note[0] == "given":
                yield Block(
                    page=page, line=first + 2, language="sh", text=note[1], note="given", options=note[2]
                )
                note = ("", "", {})
        elif fence := _FENCE.match(lines[at]):
            first = at + 1
            at = next(n for n in range(first, len(lines)) if lines[n].strip() == "```")
            text = textwrap.dedent("\n".join(lines[first:at]) + "\n")
            kind, reason, options = note
            yield Block(
                page=page,
                line=first + 1,
                language=fence[2],
                text=text,
                note=kind,
                reason=reason,
                options=options,
            )
            note = ("", "", {})
        elif lines[at].strip():
            note = ("", "", {})
        at += 1


def _note(comment: str, page: Path, line: int) -> tuple[str, str, dict[str, str]]:
    match = _COMMENT.match(comment)
    if match is None:
        raise ValueError(f"{page}:{line}: not a comment that the tests know: {comment}")
    kind, words = match.groups()
    if kind == "shown":
        return kind, " ".join(words.split()), {}
    head, _, commands = words.partition("\n") if kind == "given" else (words, "", "")
    pairs = (word.partition("=") for word in head.split())
    return kind, textwrap.dedent(commands) + "\n", {key: value or "yes" for key, _, value in pairs}


_LOOSE = [
    (r"\.\.\.", r".*"),
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", r"\\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z"),
    (r"\bsamt[0-9a-f]+\b", r"samt[0-9a-f]+"),
    (r"\b[\d.]+(?= (?:m?s|h|min|bytes)\b)", r"[\\d.]+"),
]


def unlike(stated: str, actual: str) -> list[str]:
    """Return the stated lines that the output does not have, in their order.

    `...` stands for anything; white space, times, durations and names of tunnels may differ.
    """
    rest = [" ".join(line.split()) for line in actual.splitlines()]
    missing = []
    for line in filter(None, (" ".join(line.split()) for line in stated.splitlines())):
        pattern = re.compile(_pattern(line))
        found = next((number for number, real in enumerate(rest) if pattern.search(real)), None)
        if found is None:
            missing.append(line)
        else:
            del rest[: found + 1]
    return missing


def _pattern(line: str) -> str:
    """Return the regular expression of a stated line."""
    marks: list[str] = []

    def mark(loose: str) -> str:
        marks.append(loose)
        return f"\0{len(marks) - 1}\0"

    for exact, loose in _LOOSE:
        line = re.sub(exact, lambda _, loose=loose: mark(loose.replace("\\\\", "\\")), line)
    return re.sub("\0(\\d+)\0", lambda match: marks[int(match[1])], re.escape(line))
