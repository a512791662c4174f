"""How one action is shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from rich.text import Text

from routerd.control.client import Document

_STATES = {
    "waiting": ("waits for approval", "yellow"),
    "approved": ("approved", "green"),
    "held": ("held after an undo", "yellow"),
    "planned": ("only planned (mode plan)", "dim"),
    "auto": ("not made yet", "yellow"),
    "open": ("end not known", "yellow"),
    "done": ("done", "green"),
    "failed": ("failed, may have happened", "red"),
    "refused": ("refused", "red"),
}


def word(document: Document, key: str) -> str:
    """Return a field as text, nothing when it is missing."""
    value = document.get(key)
    return "" if value is None else str(value)


def items(document: Document, key: str) -> list[Document]:
    """Return a list of documents."""
    return cast("list[Document]", document.get(key) or [])


def standing(action: Document) -> Text:
    """Return how an action stands, in a few words."""
    words, style = _STATES.get(word(action, "state"), (word(action, "state"), ""))
    if action.get("undoneBy"):
        words, style = f"{words}, undone by {action['undoneBy']}", "dim"
    elif action.get("undoes"):
        words = f"{words}, undoes {action['undoes']}"
    error = word(action, "error") or word(action, "trouble")
    return Text(f"{words}: {error}" if error else words, style=style)


def name(action: Document) -> str:
    """Return what an action is called on the command line."""
    return word(action, "id") or word(action, "number")


def details(action: Document) -> Iterator[tuple[str, str]]:
    """Yield everything worth knowing of an action, each with its label; what is missing is left out."""
    rows = (
        ("change", word(action, "text")),
        ("cloud profile", word(action, "profile")),
        ("route table", word(action, "routeTable")),
        ("prefix", word(action, "prefix")),
        ("interface", word(action, "nic")),
        ("from", word(action, "from") or "nothing"),
        ("to", word(action, "to") or "nothing"),
        ("standing", word(action, "why") or standing(action).plain),
        ("wanted since" if action.get("id") else "begun", word(action, "when")),
        ("approved", word(action, "approved")),
        ("held since", word(action, "heldSince")),
        ("finished", word(action, "finished")),
    )
    return ((label, value) for label, value in rows if value)
