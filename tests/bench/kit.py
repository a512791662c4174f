"""What an author waits for: from `routerd plugins new` to green tests, with `routerd[testing]` alone."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from tests.bench import show
from tests.thirdparty.clean_venv import CleanVenv, build_wheels, core_source, requirements_of

from routerd.plugins.scaffold import FAMILIES, PREFIX


def report() -> None:
    """Print the seconds of each family; the environment is made before."""
    with tempfile.TemporaryDirectory(prefix="rdb-", dir="/tmp") as place:
        root = Path(place)
        venv = CleanVenv.make(root / "venv")
        venv.link([*requirements_of("routerd"), "pytest", "pytest-asyncio"])
        venv.install(build_wheels([core_source(root)], root / "wheels"))
        show.title("a new plugin: from `routerd plugins new` to green tests; at most 60 s are asked")
        show.row("", "seconds", "tests")
        for family in FAMILIES:
            began = time.monotonic()
            made = venv.run("routerd", "plugins", "new", "acme", "--family", family, cwd=root)
            project = root / f"routerd-{PREFIX[family]}-acme"
            if made.returncode:
                raise SystemExit(made.stderr)
            venv.install(build_wheels([project], root / family))
            done = venv.run("python", "-m", "pytest", "-q", cwd=project)
            if done.returncode:
                raise SystemExit(done.stdout[-2000:])
            passed = done.stdout.strip().splitlines()[-1].split(" in ")[0]
            show.row(family, show.seconds(time.monotonic() - began), passed)
