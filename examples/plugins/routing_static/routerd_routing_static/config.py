"""The options of the plugin."""

from __future__ import annotations

from pathlib import Path

import attrs


@attrs.frozen(kw_only=True)
class StaticOptions:
    """`file` has a route in each line: `10.83.10.20/32 via 10.255.0.7`."""

    file: Path = Path("/etc/routerd/routes.txt")
