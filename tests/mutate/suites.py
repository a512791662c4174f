"""The tests that prove each measured part of core: paths from the root of the repository."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

SUITES: Mapping[str, Sequence[str]] = {
    "core/routerd/reconcile": (
        "tests/unit/reconcile",
        # The loop asks the policy of a cloud's table.
        "tests/unit/clouds/test_hold_down.py",
        # Derivation and admission have one rule for a leaf's /31.
        "tests/unit/admission/test_slots.py",
    ),
    "core/routerd/admission": (
        "tests/unit/admission",
        # Claims over HTTP, with a real desk behind the listener.
        "tests/unit/leaf/test_enrollment_end_to_end.py",
        "tests/unit/control/test_enrollment_openapi.py",
    ),
    "core/routerd/spi/site_routes.py": (
        "tests/unit/spi",
        # Every cell of the judge's table against a fabric.
        "tests/contract/test_fakes_keep_contracts.py",
    ),
}
"""The tests of each part that is measured; a part is a folder or a module."""
