"""A time as text, in UTC: to the second for people, to the microsecond where it is compared."""

from datetime import UTC, datetime


def second_text(moment: datetime) -> str:
    """Return a time to the second, such as `2026-06-28T12:00:00Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def exact_text(moment: datetime) -> str:
    """Return a time to the microsecond; the texts sort as the times do."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
