"""Times in tables and words."""

from datetime import datetime, timedelta

from routerd.model.moment import second_text


def text(moment: datetime | None) -> str:
    """Return a time in UTC, to the second; nothing for none."""
    return "" if moment is None else second_text(moment)


def left(moment: datetime, now: datetime) -> str:
    """Return the distance to a time in words: `in 23 h 10 min`, `2 d ago`."""
    distance = moment - now
    words = _words(abs(distance))
    return f"in {words}" if distance > timedelta(0) else f"{words} ago"


def _words(distance: timedelta) -> str:
    minutes, seconds = divmod(int(distance.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    shown = [f"{count} {unit}" for count, unit in parts if count][:2]
    return " ".join(shown) or "0 s"
