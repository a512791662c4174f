"""A guest of the emulated Proxmox VE host without a kernel: a routing table in memory.

The few commands of ip(8) that the host's agent runs reach it; outputs and complaints are those of
iproute2 6.1.
"""

import json
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import attrs

from routerd_lab.clouds.pve_guest import Ended, Json


@attrs.frozen(kw_only=True)
class KernelRoute:
    """A route in a guest's main table; `protocol` and `type` are numbers (1 unicast, 6 blackhole)."""

    prefix: IPv4Network
    device: str
    gateway: IPv4Address | None = None
    protocol: int = 3
    metric: int = 0
    type: int = 1


_TYPES = {"blackhole": 6, "unreachable": 7, "prohibit": 8}


class GuestKernel:
    """Implements `GuestSystem` without a kernel. A program other than `ip` is not installed.

    `numeric` is whether `ip` knows `-N`, which it does since 5.3.
    """

    def __init__(self, devices: dict[str, str], *, numeric: bool = True) -> None:
        self.devices = {name: IPv4Interface(address) for name, address in devices.items()}
        self.routes: list[KernelRoute] = []
        self.numeric = numeric
        self.installed = True
        self.commands: list[tuple[str, ...]] = []
        self.restart()

    def restart(self) -> None:
        """Lose the state of the running kernel."""
        self.routes = [
            KernelRoute(prefix=address.network, device=name, protocol=2)
            for name, address in self.devices.items()
        ]

    def find(self, prefix: IPv4Network) -> KernelRoute | None:
        """Return the route to a prefix, the preferred one of several."""
        found = [route for route in self.routes if route.prefix == prefix]
        return min(found, key=lambda route: route.metric, default=None)

    def lead(self, prefix: IPv4Network, gateway: IPv4Address) -> None:
        """Let a route with routerd's mark lead to a router, as that router would."""
        self.routes = [route for route in self.routes if route.prefix != prefix]
        device = next(name for name, address in self.devices.items() if gateway in address.network)
        self.routes.append(KernelRoute(prefix=prefix, device=device, gateway=gateway, protocol=147))

    async def run(self, command: Sequence[str], text: str) -> Ended:
        """Do as `ip` would."""
        self.commands.append(tuple(command))
        if command[0] != "ip" or not self.installed:
            raise FileNotFoundError(command[0])
        words = list(command[1:])
        options = set()
        while words and words[0].startswith("-"):
            options.add(words.pop(0))
            if "-batch" in options:
                break
        if "-N" in options and not self.numeric:
            return Ended(status=255, err='Option "-N" is unknown, try "ip -help".\n')
        if "-batch" in options:
            return self._batch(text.splitlines())
        if words[:2] == ["route", "show"]:
            return Ended(status=0, out=json.dumps(self._shown()))
        if words[:2] == ["address", "show"]:
            return Ended(status=0, out=json.dumps(self._addresses()))
        said = self._line(words)
        return Ended(status=2 if said else 0, err=f"{said}\n" if said else "")

    def _batch(self, lines: Sequence[str]) -> Ended:
        said = shown = ""
        for number, line in enumerate(lines, start=1):
            if line.split() == ["route", "show"]:
                shown += json.dumps(self._shown())
                continue
            words = self._line(line.split())
            if words:
                said += f"{words}\nCommand failed -:{number}\n"
        return Ended(status=1 if said else 0, out=shown, err=said)

    def _line(self, words: Sequence[str]) -> str:
        """Change the table; return the complaint."""
        if words[:1] != ["route"] or len(words) < 3:
            return f'Object "{words[0] if words else ""}" is unknown, try "ip help".'
        kind = _TYPES.get(words[2], 1)
        verb, prefix, rest = words[1], IPv4Network(words[3 if kind > 1 else 2]), words[4 if kind > 1 else 3 :]
        facts = dict(zip(rest[::2], rest[1::2], strict=True))
        if "dev" in facts and facts["dev"] not in self.devices:
            return f'Cannot find device "{facts["dev"]}"'
        if verb == "del":
            return self._delete(prefix, facts)
        if verb == "add":
            return self._add(prefix, facts, kind)
        return f'Command "{verb}" is unknown, try "ip route help".'

    def _add(self, prefix: IPv4Network, facts: dict[str, str], kind: int) -> str:
        gateway = IPv4Address(facts["via"]) if "via" in facts else None
        device = facts.get("dev")
        if gateway is not None:
            near = [name for name, address in self.devices.items() if gateway in address.network]
            if not near or (device is not None and device not in near):
                return "Error: Nexthop has invalid gateway."
            device = device or near[0]
        if device is None and kind == 1:
            return "RTNETLINK answers: No such device"
        metric = int(facts.get("metric", "0"))
        if any(route.prefix == prefix and route.metric == metric for route in self.routes):
            return "RTNETLINK answers: File exists"
        made = KernelRoute(
            prefix=prefix,
            device=device or "",
            gateway=gateway,
            protocol=int(facts.get("proto", "3")),
            metric=metric,
            type=kind,
        )
        self.routes.append(made)
        return ""

    def _delete(self, prefix: IPv4Network, facts: dict[str, str]) -> str:
        for route in sorted(self.routes, key=lambda each: each.metric):
            shown = {"via": str(route.gateway), "dev": route.device, "proto": str(route.protocol)}
            if route.prefix == prefix and all(shown[name] == value for name, value in facts.items()):
                self.routes.remove(route)
                return ""
        return "RTNETLINK answers: No such process"

    def _shown(self) -> list[Json]:
        rows = []
        for route in sorted(self.routes, key=lambda each: (each.prefix, each.metric)):
            whole = route.prefix.prefixlen == 32
            row: Json = {"dst": str(route.prefix.network_address) if whole else str(route.prefix)}
            if route.prefix.prefixlen == 0:
                row["dst"] = "default"
            if route.gateway is not None:
                row["gateway"] = str(route.gateway)
            if route.type != 1:
                row["type"] = str(route.type)
            if route.device:
                row["dev"] = route.device
            # `ip` does not print the protocol `boot`, its own default.
            if route.protocol != 3:
                row["protocol"] = str(route.protocol)
            if route.metric:
                row["metric"] = route.metric
            rows.append({**row, "flags": []})
        return rows

    def _addresses(self) -> list[Json]:
        return [
            {
                "ifname": name,
                "address": f"bc:24:11:00:00:{index:02x}",
                "addr_info": [
                    {"family": "inet", "local": str(address.ip), "prefixlen": address.network.prefixlen}
                ],
            }
            for index, (name, address) in enumerate(self.devices.items())
        ]
