"""One action in words."""

from collections.abc import Iterator

from rich.text import Text

from routerd.cli.share import times
from routerd.model.report.actions import MadeAction, OpenAction

STATES = {
    "waiting": ("waits for approval", "yellow"),
    "approved": ("approved", "green"),
    "held": ("held after an undo", "yellow"),
    "planned": ("only planned (mode plan)", "dim"),
    "auto": ("not made yet", "yellow"),
    "open": ("end not known", "yellow"),
    "done": ("done", "green"),
    "superseded": ("superseded, no longer ours", "dim"),
    "failed": ("failed, may have happened", "red"),
    "refused": ("refused", "red"),
}


def standing(action: OpenAction | MadeAction) -> Text:
    """Return the state of an action in a few words."""
    words, style = STATES[action.state]
    error = action.trouble if isinstance(action, OpenAction) else action.error
    if isinstance(action, MadeAction) and action.undone_by:
        words, style = f"{words}, undone by {action.undone_by}", "dim"
    elif isinstance(action, MadeAction) and action.undoes:
        words = f"{words}, undoes {action.undoes}"
    return Text(f"{words}: {error}" if error else words, style=style)


def name(action: OpenAction | MadeAction) -> str:
    """Return the name of an action on the command line."""
    return action.id if isinstance(action, OpenAction) else str(action.number)


def details(action: OpenAction | MadeAction) -> Iterator[tuple[str, str]]:
    """Yield the parts of an action, each with its label; empty parts are left out."""
    rows = [
        ("change", action.text),
        ("cloud profile", action.profile),
        ("route table", action.route_table),
        ("prefix", action.prefix),
        ("interface", action.nic),
        ("from", action.from_ or "nothing"),
        ("to", action.to or "nothing"),
    ]
    if isinstance(action, OpenAction):
        rows += [
            ("state", action.why or standing(action).plain),
            ("wanted since", times.text(action.when)),
            ("approved", times.text(action.approved)),
            ("held since", times.text(action.held_since)),
        ]
    else:
        rows += [
            ("state", standing(action).plain),
            ("begun", times.text(action.when)),
            ("finished", times.text(action.finished)),
        ]
    return ((label, value) for label, value in rows if value)
