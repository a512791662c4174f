"""Options of `routerd enroll leaf-config` that fit the route reflector of `examples/rr.yaml`."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

from tests.unit.cli.command_line import Done, routerd

EXAMPLES = Path(__file__).parents[3] / "examples"
KEY = base64.b64encode(bytes(range(32))).decode()

OPTIONS: Mapping[str, str] = {
    "leaf-id": "leaf1",
    "underlay-ifname": "eth0",
    "underlay-address": "203.0.113.11/24",
    "local-endpoint": "203.0.113.11",
    "endpoint-prefix": "203.0.113.0/24,10.20.0.0/24",
    "inner-prefix": "10.255.0.0/20",
    "tunnel-address": "10.255.16.11",
    "mobility-prefix": "10.80.0.0/16",
    "rr-set": "rrs",
    "policy": "leaves",
    "join-audience": "my-fabric",
    "bootstrap-endpoint": "http://203.0.113.1:65432",
}
WIREGUARD = {
    "mode": "ipip",
    "encryption": "wireguard",
    "wireguard-address": "10.20.0.11",
    "wireguard-public-key": KEY,
}


def leaf_config(*words: object, **changed: str | None) -> Done:
    """Run the command; `changed` are options with underscores, none leaves one out."""
    options = {**OPTIONS, **{name.replace("_", "-"): value for name, value in changed.items()}}
    given = [text for name, value in options.items() if value is not None for text in (f"--{name}", value)]
    return routerd("enroll", "leaf-config", *given, *words)
