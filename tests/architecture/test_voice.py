"""The sentences of the product name their actor and negate the verb."""

from __future__ import annotations

import pytest
from tests.architecture import voice


def test_no_text_has_a_construction_to_avoid() -> None:
    found = voice.places()
    assert not found, "\n".join(map(str, found))


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
