"""The pause between two attempts, one formula for all of routerd. Pure."""

_MOST_DOUBLINGS = 20


def doubled(failures: int, *, first: float = 1.0, ceiling: float) -> float:
    """Return seconds until the next attempt after `failures` in a row: `first`, twice that, ... `ceiling`."""
    return min(ceiling, first * 2.0 ** min(max(failures, 1) - 1, _MOST_DOUBLINGS))
