"""FRR: bgpd with a zebra of its own, asked by vtysh."""

from __future__ import annotations

from typing import Any

from tests.interop.engine import RETRY, Description, Engine, Neighbour, Origin, Path

_DAEMONS = "/usr/lib/frr"


class Frr(Engine):
    """`zebra` and `bgpd`; without zebra, bgpd does not know which next hops there are."""

    program = "vtysh"
    package = "frr"

    def launch(self, description: Description) -> None:
        config = self.directory / "bgpd.conf"
        config.write_text("\n".join(_configuration(description)) + "\n")
        (self.directory / "zebra.conf").write_text(f"hostname {self.name}\n")
        self._daemon("zebra")
        self._daemon("bgpd")

    def _daemon(self, name: str) -> None:
        at = self.directory
        socket = at / f"{name}.vty"
        socket.unlink(missing_ok=True)
        self.spawn(
            f"{_DAEMONS}/{name}",
            *("-f", str(at / f"{name}.conf"), "-i", str(at / f"{name}.pid")),
            *("--vty_socket", str(at), "-z", str(at / "zserv"), "-P", "0"),
            *("-u", "root", "-g", "root", "--log", f"file:{at / name}.log"),
        )
        # bgpd asks zebra once and then only after some seconds again, so zebra must listen first.
        self.wait(socket.exists, name)

    def _vtysh(self, *commands: str) -> str:
        each = [word for command in commands for word in ("-c", command)]
        return self.ask("vtysh", "--vty_socket", str(self.directory), *each)

    def _show(self, command: str) -> Any:
        return self.ask_json("vtysh", "--vty_socket", str(self.directory), "-c", f"{command} json")

    def _about(self, neighbour: str) -> Any:
        return self._show(f"show bgp neighbors {neighbour}").get(neighbour, {})

    def established(self, neighbour: str) -> bool:
        return bool(self._about(neighbour).get("bgpState") == "Established")

    def hold_time(self, neighbour: str) -> int:
        return int(self._about(neighbour).get("bgpTimerHoldTimeMsecs", 0)) // 1000

    def notification(self, neighbour: str) -> tuple[int, int] | None:
        said = self._about(neighbour).get("lastErrorCodeSubcode")
        if not said:
            return None
        code, subcode = bytes.fromhex(said)
        return code, subcode

    def routes(self) -> set[str]:
        table = self._show("show bgp ipv4 unicast").get("routes", {})
        return {
            prefix
            for prefix, paths in table.items()
            for path in paths
            if path.get("valid") and path.get("bestpath") and path.get("peerId") != "(unspec)"
        }

    def path(self, prefix: str, neighbour: str) -> Path | None:
        paths = self._show(f"show bgp ipv4 unicast {prefix}").get("paths", [])
        for path in paths:
            if path["peer"].get("peerId") != neighbour:
                continue
            return Path(
                next_hop=path["nexthops"][0]["ip"],
                local_preference=path.get("locPrf"),
                as_path=tuple(asn for segment in path["aspath"]["segments"] for asn in segment["list"]),
                communities=tuple(path.get("community", {}).get("list", ())),
                originator=path.get("originatorId"),
                clusters=tuple(path.get("clusterList", {}).get("list", ())),
            )
        return None

    def _configure(self, *lines: str) -> None:
        assert self.described is not None
        self._vtysh("configure terminal", *lines)

    def announce(self, origin: Origin) -> None:
        assert self.described is not None
        self._configure(
            f"no route-map {_map(origin)}",
            *_maps(origin),
            f"router bgp {self.described.asn}",
            _FAMILY,
            _network(origin),
        )

    def withdraw(self, prefix: str) -> None:
        assert self.described is not None
        self._configure(f"router bgp {self.described.asn}", _FAMILY, f"no network {prefix}")

    def disable(self, neighbour: str) -> None:
        assert self.described is not None
        self._configure(f"router bgp {self.described.asn}", f"neighbor {neighbour} shutdown")

    def enable(self, neighbour: str) -> None:
        assert self.described is not None
        self._configure(f"router bgp {self.described.asn}", f"no neighbor {neighbour} shutdown")

    def reset(self, neighbour: str) -> None:
        self._vtysh(f"clear bgp ipv4 unicast {neighbour}")


_FAMILY = "address-family ipv4 unicast"


def _map(origin: Origin) -> str:
    return "origin-" + origin.prefix.replace("/", "-")


def _maps(origin: Origin) -> list[str]:
    sets = [f"set community {' '.join(origin.communities)}"] if origin.communities else []
    if origin.local_preference is not None:
        sets.append(f"set local-preference {origin.local_preference}")
    return [f"route-map {_map(origin)} permit 10", *sets, "exit"]


def _network(origin: Origin) -> str:
    return f"network {origin.prefix} route-map {_map(origin)}"


def _neighbour(neighbour: Neighbour) -> list[str]:
    this = f"neighbor {neighbour.address}"
    return [
        f"{this} remote-as {neighbour.asn}",
        f"{this} update-source {neighbour.local}",
        f"{this} timers {max(1, neighbour.hold // 3)} {neighbour.hold}",
        f"{this} timers connect {RETRY}",
        *((f"{this} passive",) if neighbour.passive else ()),
        *((f"{this} password {neighbour.password}",) if neighbour.password else ()),
    ]


def _configuration(description: Description) -> list[str]:
    lines = [line for origin in description.origins for line in _maps(origin)]
    lines += [
        f"router bgp {description.asn}",
        f"bgp router-id {description.router_id}",
        "no bgp ebgp-requires-policy",
        "no bgp network import-check",
        *((f"bgp cluster-id {description.router_id}",) if description.reflects else ()),
    ]
    lines += [line for each in description.neighbours for line in _neighbour(each)]
    lines += [_FAMILY, *map(_network, description.origins)]
    for each in description.neighbours:
        if each.client:
            # `force`: without it FRR leaves the next hop of what it reflects as it came.
            lines += [
                f"neighbor {each.address} route-reflector-client",
                f"neighbor {each.address} next-hop-self force",
            ]
    return [*lines, "exit-address-family"]
