"""pyroute2 in parts: core loads what it uses, and a plugin finds the rest as usual."""

from __future__ import annotations

import subprocess
import sys

from routerd.kernel import pyroute2_parts

PARTS = f"""
import sys
import {pyroute2_parts.__name__}
{{more}}
print(*sorted(sys.modules))
"""


def loaded(more: str = "") -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PARTS.format(more=more)], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


def test_core_loads_only_the_parts_that_it_uses() -> None:
    found = loaded()
    assert "pyroute2.iproute.linux" in found
    assert {"pyroute2.ndb.main", "pyroute2.ipdb", "pyroute2.plan9.client"}.isdisjoint(found)


def test_a_submodule_is_imported_without_the_whole() -> None:
    found = loaded(
        "from pyroute2 import netlink\nfrom pyroute2.netlink.generic.wireguard import AsyncWireGuard"
    )
    assert "pyroute2.netlink.generic.wireguard" in found
    assert "pyroute2.ndb.main" not in found


def test_a_name_of_the_whole_loads_it() -> None:
    more = "from pyroute2 import NDB, IPRoute\nimport pyroute2\nassert type(pyroute2) is type(sys)"
    assert "pyroute2.ndb.main" in loaded(more)


def test_a_name_that_nobody_has_is_an_error_as_usual() -> None:
    loaded("try:\n    from pyroute2 import nothing\nexcept ImportError:\n    pass\nelse:\n    sys.exit(1)")


def test_what_was_loaded_whole_stays_so() -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import pyroute2, {pyroute2_parts.__name__}; print(pyroute2.NDB.__name__)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "NDB\n"
