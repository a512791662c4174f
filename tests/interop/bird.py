"""BIRD 2, asked by birdc."""

from __future__ import annotations

import re

import attrs
from tests.interop.engine import RETRY, Description, Engine, Neighbour, Origin, Path
from tests.interop.sandbox import run

_WORDS = {
    "Bad peer AS": (2, 2),
    "Bad BGP identifier": (2, 3),
    "Hold timer expired": (4, 0),
    "Administrative shutdown": (6, 2),
    "Peer de-configured": (6, 3),
    "Administrative reset": (6, 4),
    "Connection rejected": (6, 5),
    "Other configuration change": (6, 6),
}
"""What birdc says instead of codes."""


class Bird(Engine):
    """One `bird` process."""

    program = "bird"
    package = "bird2"

    def launch(self, description: Description) -> None:
        self._write(description)
        config = str(self.directory / "bird.conf")
        run("bird", "-p", "-c", config)
        control, pid = str(self.directory / "ctl"), str(self.directory / "pid")
        self.spawn("bird", "-f", "-c", config, "-s", control, "-P", pid)

    def _write(self, description: Description) -> None:
        statics = " ".join(map(_static, description.origins))
        parts = [
            f"router id {description.router_id};",
            "protocol device {}",
            "protocol direct { ipv4; }",
            f"protocol static claim {{ ipv4; {statics} }}",
            *(_session(description, each) for each in description.neighbours),
        ]
        (self.directory / "bird.conf").write_text("\n".join(parts) + "\n")

    def _birdc(self, *words: str) -> str:
        return self.ask("birdc", "-s", str(self.directory / "ctl"), *words)

    def _about(self, neighbour: str) -> str:
        return self._birdc("show", "protocols", "all", _protocol(neighbour))

    def established(self, neighbour: str) -> bool:
        return re.search(r"BGP state: +Established", self._about(neighbour)) is not None

    def hold_time(self, neighbour: str) -> int:
        found = re.search(r"Hold timer: +[\d.]+/(\d+)", self._about(neighbour))
        return int(found[1]) if found else 0

    def notification(self, neighbour: str) -> tuple[int, int] | None:
        found = re.search(r"Last error: +(?:Received: |BGP Error: )?(.+)", self._about(neighbour))
        return next((code for words, code in _WORDS.items() if found and words in found[1]), None)

    def routes(self) -> set[str]:
        text = self._birdc("show", "route", "where", "source = RTS_BGP", "primary")
        return {line.split()[0] for line in text.splitlines() if "/" in line and "unicast" in line}

    def path(self, prefix: str, neighbour: str) -> Path | None:
        text = self._birdc("show", "route", prefix, "protocol", _protocol(neighbour), "all")
        said = dict(re.findall(r"^\s+BGP\.(\w+): ?(.*)$", text, re.MULTILINE))
        if "next_hop" not in said:
            return None
        preference = said.get("local_pref")
        return Path(
            next_hop=said["next_hop"].split()[0],
            local_preference=int(preference) if preference else None,
            as_path=tuple(map(int, said.get("as_path", "").split())),
            communities=tuple(
                f"{a}:{b}" for a, b in re.findall(r"\((\d+),(\d+)\)", said.get("community", ""))
            ),
            originator=said.get("originator_id"),
            clusters=tuple(said.get("cluster_list", "").split()),
        )

    def _configure(self, description: Description) -> None:
        self.described = description
        self._write(description)
        assert "Reconfigured" in (said := self._birdc("configure")), said

    def announce(self, origin: Origin) -> None:
        assert self.described is not None
        self._configure(attrs.evolve(self.described, origins=(*self.described.origins, origin)))

    def withdraw(self, prefix: str) -> None:
        assert self.described is not None
        left = tuple(each for each in self.described.origins if each.prefix != prefix)
        self._configure(attrs.evolve(self.described, origins=left))

    def disable(self, neighbour: str) -> None:
        self._birdc("disable", _protocol(neighbour))

    def enable(self, neighbour: str) -> None:
        self._birdc("enable", _protocol(neighbour))

    def reset(self, neighbour: str) -> None:
        self._birdc("restart", _protocol(neighbour))


def _protocol(neighbour: str) -> str:
    return "n" + neighbour.replace(".", "_")


def _static(origin: Origin) -> str:
    sets = [f"bgp_community.add(({each.replace(':', ',')}));" for each in origin.communities]
    if origin.local_preference is not None:
        sets.append(f"bgp_local_pref = {origin.local_preference};")
    return f"route {origin.prefix} blackhole {{ {' '.join(sets)} }};"


def _session(description: Description, neighbour: Neighbour) -> str:
    source = "source = RTS_BGP" if description.reflects else "source = RTS_STATIC"
    more = [
        *(("passive;",) if neighbour.passive else ()),
        *((f'password "{neighbour.password}";',) if neighbour.password else ()),
        *((f"rr client; rr cluster id {description.router_id};",) if neighbour.client else ()),
    ]
    own = " next hop self;" if neighbour.client else ""
    return (
        f"protocol bgp {_protocol(str(neighbour.address))} {{"
        f" local {neighbour.local} as {description.asn};"
        f" neighbor {neighbour.address} as {neighbour.asn}; direct;"
        f" hold time {neighbour.hold}; connect delay time {RETRY}; connect retry time {RETRY};"
        f" error wait time 1, 2; {' '.join(more)}"
        f" ipv4 {{ import all; export where {source};{own} }}; }}"
    )
