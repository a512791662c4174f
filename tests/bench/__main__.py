"""Runs every benchmark and prints figures, ratios against peers of the same run, and growth with size."""

from __future__ import annotations

import sys

from tests.bench import fabric, inside


def main() -> None:
    """Print the report; `python -m tests.bench fabric|inside` prints one part."""
    wanted = sys.argv[1:] or ["inside", "fabric"]
    if "inside" in wanted:
        inside.report()
    if "fabric" in wanted:
        fabric.report()


if __name__ == "__main__":
    main()
