"""The sentences of the product name their actor and negate the verb."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.architecture import voice


def test_no_file_gains_a_construction_to_avoid() -> None:
    """A file that is new may have what files that are gone or became shorter had: code moves."""
    found = voice.places()
    counts, allowed = Counter(place.file for place in found), voice.allowed()
    moved = (allowed - counts).total()
    above = {file for file, count in counts.items() if file in allowed and count > allowed[file]}
    new = {file for file in counts if file not in allowed}
    if sum(counts[file] for file in new) > moved:
        above |= new
    assert not above, "\n".join(str(place) for place in found if place.file in above)


@pytest.mark.parametrize(
    "text",
    [
        "The listener returns it only\nto who proves it.",
        "It is no IPv4 address.",
        "{} is no\nWireGuard key",
        "what comes first is none of ours",
        "Afterwards it is looked\nat again.",
        "Signed anew.",
        "By then it is over.",
        "Whoever is too slow waits.",
        "A leaf. Who comes first stays.",
    ],
)
def test_a_construction_to_avoid_is_found(text: str) -> None:
    assert len(voice.find(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "There is no route, and it is no longer wanted.",
        "The operator decides who joins.",
        "## Who is active?",
        "the claim is not a document",
        "a renewed claim",
    ],
)
def test_a_good_sentence_is_left_alone(text: str) -> None:
    assert voice.find(text) == []


def test_every_kind_of_text_is_read() -> None:
    suffixes = {path.suffix for path in voice.pages()}
    assert {".py", ".md", ".yaml", ".service"} <= suffixes
