"""Runs every benchmark and prints figures, ratios against peers of the same run, and growth with size."""

from __future__ import annotations

import sys

from tests.bench import bgp, clouds, dataplane, enrollment, fabric, gate, inside, kit, start


def main() -> None:
    """Print the report; `python -m tests.bench PART` prints one part.

    The parts are start, inside, enrollment, bgp, clouds, fabric, gate, kit and dataplane.

    `dataplane` needs the kernel's own tunnels and runs in the virtual machine only.
    """
    wanted = sys.argv[1:] or ["start", "inside", "enrollment", "bgp", "clouds", "fabric", "gate", "kit"]
    if "start" in wanted:
        start.report()
    if "inside" in wanted:
        inside.report()
    if "enrollment" in wanted:
        enrollment.report()
    if "bgp" in wanted:
        bgp.report()
    if "clouds" in wanted:
        clouds.report()
    if "fabric" in wanted:
        fabric.report()
    if "kit" in wanted:
        kit.report()
    if "gate" in wanted:
        gate.report()
    if "dataplane" in wanted:
        dataplane.report()


if __name__ == "__main__":
    main()
