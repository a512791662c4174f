"""How figures are printed."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def title(text: str) -> None:
    """Print a heading."""
    sys.stdout.write(f"\n{text}\n")
    sys.stdout.flush()


def row(*cells: object, widths: Sequence[int] = (44, 14, 14, 14, 14)) -> None:
    """Print one line of a table: the first cell to the left, figures to the right."""
    first, *others = (str(cell) for cell in cells)
    line = first.ljust(widths[0]) + "".join(
        cell.rjust(width) for cell, width in zip(others, widths[1:], strict=False)
    )
    sys.stdout.write(f"  {line.rstrip()}\n")
    sys.stdout.flush()


def seconds(value: float) -> str:
    """Return a duration in the unit that suits it."""
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.2f} ms"


def ratio(ours: float, theirs: float) -> str:
    """Return how many times the peer's figure ours is."""
    return f"x {ours / theirs:.2f}" if theirs else "-"
