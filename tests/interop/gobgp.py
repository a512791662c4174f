"""GoBGP: gobgpd, asked by gobgp.

It has no kernel routes without zebra, so what is usable is judged by the namespace's own routes. Whatever is
configured, it stays idle for five seconds after a session has ended and for thirty after a reset, and dials
five to ten seconds later.
"""

from __future__ import annotations

import re
from typing import Any

from tests.interop.engine import RETRY, Description, Engine, Neighbour, Origin, Path

_NEXT_HOP, _LOCAL_PREFERENCE, _AS_PATH, _COMMUNITIES, _ORIGINATOR, _CLUSTERS = 3, 5, 2, 8, 9, 10
_ESTABLISHED = 6
_NEXT_HOP_SELF = """
[global.apply-policy.config]
  export-policy-list = ["reflected"]
  default-export-policy = "accept-route"
[[policy-definitions]]
  name = "reflected"
  [[policy-definitions.statements]]
    name = "own-next-hop"
    [policy-definitions.statements.actions]
      route-disposition = "accept-route"
    [policy-definitions.statements.actions.bgp-actions]
      set-next-hop = "self"
"""


class GoBgp(Engine):
    """One `gobgpd` process; its API listens in its own namespace only."""

    program = "gobgpd"
    package = "gobgpd"
    helps = False
    tells_refusals = False  # in OpenConfirm it calls a NOTIFICATION an invalid message, and forgets it
    resets = False

    def launch(self, description: Description) -> None:
        config = self.directory / "gobgpd.toml"
        config.write_text(_configuration(description))
        self.spawn(
            *("gobgpd", "-f", str(config), "--api-hosts", "127.0.0.1:50051", "--pprof-disable"),
            *("-l", "debug"),
        )
        self.wait(lambda: self._gobgp("global"), "API")
        for origin in description.origins:
            self.announce(origin)

    def _gobgp(self, *words: str) -> str:
        return self.ask("gobgp", *words)

    def _show(self, *words: str) -> Any:
        return self.ask_json("gobgp", "-j", *words)

    def established(self, neighbour: str) -> bool:
        return bool(self._show("neighbor", neighbour).get("state", {}).get("session_state") == _ESTABLISHED)

    def hold_time(self, neighbour: str) -> int:
        timers = self._show("neighbor", neighbour).get("timers", {}).get("state", {})
        return int(timers.get("negotiated_hold_time", 0))

    def notification(self, neighbour: str) -> tuple[int, int] | None:
        # Its API does not tell; its log, an object of JSON in each line, does.
        last = None
        for line in self.said().splitlines():
            if "otification" in line and f'"Key":"{neighbour}"' in line:
                last = _code(line) or last
        return last

    def routes(self) -> set[str]:
        found = set()
        for prefix, paths in self._show("global", "rib").items():
            best = next((each for each in paths if each.get("best")), None)
            if best is not None and best.get("neighbor-ip") and self.on_link(_path(best).next_hop):
                found.add(prefix)
        return found

    def path(self, prefix: str, neighbour: str) -> Path | None:
        paths = self._show("neighbor", neighbour, "adj-in").get(prefix, [])
        return _path(paths[0]) if paths else None

    def announce(self, origin: Origin) -> None:
        more = ["community", ",".join(origin.communities)] if origin.communities else []
        if origin.local_preference is not None:
            more += ["local-pref", str(origin.local_preference)]
        self._gobgp("global", "rib", "add", origin.prefix, *more)

    def withdraw(self, prefix: str) -> None:
        self._gobgp("global", "rib", "del", prefix)

    def disable(self, neighbour: str) -> None:
        self._gobgp("neighbor", neighbour, "disable")

    def enable(self, neighbour: str) -> None:
        self._gobgp("neighbor", neighbour, "enable")

    def reset(self, neighbour: str) -> None:
        self._gobgp("neighbor", neighbour, "reset")


def _code(line: str) -> tuple[int, int] | None:
    codes = [re.search(rf'"{word}":(\d+)', line) for word in ("Code", "Subcode")]
    return (int(codes[0][1]), int(codes[1][1])) if codes[0] and codes[1] else None


def _path(shown: Any) -> Path:
    said = {each["type"]: each for each in shown["attrs"]}
    segments = said.get(_AS_PATH, {}).get("as_paths") or []
    return Path(
        next_hop=said[_NEXT_HOP]["nexthop"],
        local_preference=said.get(_LOCAL_PREFERENCE, {}).get("value"),
        as_path=tuple(asn for segment in segments for asn in segment["asns"]),
        communities=tuple(
            f"{each >> 16}:{each & 0xFFFF}" for each in said.get(_COMMUNITIES, {}).get("communities", ())
        ),
        originator=said.get(_ORIGINATOR, {}).get("value"),
        clusters=tuple(said.get(_CLUSTERS, {}).get("value", ())),
    )


def _configuration(description: Description) -> str:
    head = f'[global.config]\n  as = {description.asn}\n  router-id = "{description.router_id}"\n'
    policy = _NEXT_HOP_SELF if description.reflects else ""
    return head + policy + "".join(_neighbour(description, each) for each in description.neighbours)


def _neighbour(description: Description, neighbour: Neighbour) -> str:
    lines = [
        "[[neighbors]]",
        "  [neighbors.config]",
        f'    neighbor-address = "{neighbour.address}"',
        f"    peer-as = {neighbour.asn}",
        *((f'    auth-password = "{neighbour.password}"',) if neighbour.password else ()),
        "  [neighbors.timers.config]",
        f"    connect-retry = {RETRY}",
        f"    hold-time = {neighbour.hold}",
        f"    keepalive-interval = {max(1, neighbour.hold // 3)}",
        "  [neighbors.transport.config]",
        f'    local-address = "{neighbour.local}"',
        f"    passive-mode = {'true' if neighbour.passive else 'false'}",
    ]
    if neighbour.client:
        lines += [
            "  [neighbors.route-reflector.config]",
            "    route-reflector-client = true",
            f'    route-reflector-cluster-id = "{description.router_id}"',
        ]
    return "\n".join(lines) + "\n"
