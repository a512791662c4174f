"""How times are shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def moment(when: datetime) -> str:
    """Return a time in UTC, to the second."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def text(value: object) -> str:
    """Return a time of a document to the second; what is none is shown as it is."""
    if not isinstance(value, str):
        return ""
    try:
        return moment(datetime.fromisoformat(value))
    except ValueError:
        return value


def left(value: object, now: datetime) -> str:
    """Return how far off a time of a document is, in words: `in 23 h 10 min`, `2 d ago`."""
    try:
        distance = datetime.fromisoformat(str(value)) - now
    except (ValueError, TypeError):
        return ""
    words = _words(abs(distance))
    return f"in {words}" if distance > timedelta(0) else f"{words} ago"


def _words(distance: timedelta) -> str:
    minutes, seconds = divmod(int(distance.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    shown = [f"{count} {unit}" for count, unit in parts if count][:2]
    return " ".join(shown) or "0 s"
