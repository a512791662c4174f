"""The deadlines of the lab; a slow machine gets longer ones."""

import os

VARIABLE = "ROUTERD_LAB_PATIENCE"


def patient(seconds: float) -> float:
    """Scale a deadline from a usual machine to this one; only a failure takes that long."""
    return seconds * float(os.environ.get(VARIABLE) or 1)
