"""How long the lab waits before it calls something broken. A slow machine gets more."""

from __future__ import annotations

import os

VARIABLE = "ROUTERD_LAB_PATIENCE"


def patient(seconds: float) -> float:
    """Return a deadline that holds on a usual machine, for this one. Only failures take that long."""
    return seconds * float(os.environ.get(VARIABLE) or 1)
