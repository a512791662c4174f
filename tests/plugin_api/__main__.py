"""Write the snapshot, or keep it as that of a release."""

from __future__ import annotations

import sys

from tests.plugin_api.rule import RELEASED, SNAPSHOT
from tests.plugin_api.snapshot import snapshot


def main(words: list[str]) -> int:
    """Return the exit status."""
    if words not in ([], ["release"]):
        sys.stderr.write("usage: python -m tests.plugin_api [release]\n")
        return 2
    text = snapshot()
    for path in (SNAPSHOT, RELEASED) if words else (SNAPSHOT,):
        path.write_text(text)
        sys.stdout.write(f"{path.name}: {len(text.splitlines())} lines\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
