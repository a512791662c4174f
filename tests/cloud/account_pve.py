"""A Proxmox VE host: routes inside of guests, written by ip(8) through the guest agent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network

import attrs
from aiohttp import web
from tests.cloud.account import Hop, Slot, View
from tests.support.guest_kernel import GuestKernel, KernelRoute
from tests.support.loopback import Api

from routerd_lab.clouds.pve import AGENT, AUDIT, NETWORK, PveHost
from routerd_lab.clouds.pve_guest import Guest
from routerd_lab.clouds.trouble import Troubles

_TOKEN = "routerd@pve!fabric=7a0c39b1-5d5e-4f5a-8d35-0f6a2f9f3c11"
_US, _THEM = IPv4Address("10.99.9.1"), IPv4Address("10.99.9.77")
_FILTER = "ipfilter"


class PveAccount:
    """Implements `Account`. A guest has no network of its own in which a route would be refused."""

    provider = "pve"
    options = (
        "{host: pve.example, tokenFile: DIRECTORY/token, caFile: DIRECTORY/ca.pem, gateway: 10.99.9.1, "
        "vmid: 100, guests: [{vmid: 101, device: ens19}, {vmid: 102}]}"
    )
    files: Mapping[str, str] = {"token": f"{_TOKEN}\n"}
    tables = ("qemu/101", "qemu/102")
    prefixes = tuple(IPv4Network(f"10.81.10.{host}/32") for host in (20, 21, 22))
    inside = ()
    # The guest's kernel deletes only what leads to us, and refuses to make what is there.
    conditional = True
    creates_conditionally = True
    calls = ("GET resources", "POST exec", "GET exec-status", "GET options", "PUT options")
    lags = "GET resources"

    def __init__(self) -> None:
        self._kernels = {
            101: GuestKernel({"ens18": "192.168.1.47/24", "ens19": "10.99.9.10/24"}),
            102: GuestKernel({"ens18": "192.168.1.48/24", "ens19": "10.99.9.11/24"}),
        }
        self._us = Guest(
            name="pve-leaf",
            system=GuestKernel({"ens18": "192.168.1.43/24", "ens19": "10.99.9.1/24"}),
            config={
                "net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0",
                "net1": "virtio=BC:24:11:00:00:02,bridge=vmbr1,firewall=1",
            },
            firewall={"enable": 1, _FILTER: 1, "macfilter": 1},
        )
        self._guests = {
            vmid: Guest(name=f"client-{vmid}", system=kernel) for vmid, kernel in self._kernels.items()
        }
        self.host = PveHost(
            token=_TOKEN,
            guests={100: self._us, **self._guests},
            privileges={
                100: frozenset({AUDIT, NETWORK}),
                **dict.fromkeys(self._guests, frozenset({AUDIT, AGENT})),
            },
        )

    @property
    def troubles(self) -> Troubles:
        return self.host.troubles

    def apis(self) -> Sequence[Api]:
        return (Api(app=self.host.app(), names=("pve.example",), port=8006),)

    def writes(self, request: web.Request, body: bytes) -> bool:
        return request.method == "PUT" or (request.path.endswith("/exec") and b"-batch" in body)

    def reads_routes(self, request: web.Request, body: bytes) -> bool:
        return request.path.endswith("/exec") and b"show" in body

    def view(self) -> View:
        routes: dict[Slot, str] = {}
        ours: set[Slot] = set()
        others: list[str] = []
        for vmid, kernel in self._kernels.items():
            for route in kernel.routes:
                slot = (f"qemu/{vmid}", str(route.prefix))
                text = json.dumps(attrs.asdict(route), default=str, sort_keys=True)
                if route.metric or slot in routes:
                    others.append(f"{vmid} {text}")
                    continue
                routes[slot] = text
                if route.protocol == 147 and route.gateway == _US:
                    ours.add(slot)
        guests = [[vmid, each.config, each.ipsets] for vmid, each in self.host.guests.items()]
        firewalls = [
            {name: value for name, value in each.firewall.items() if each is not self._us or name != _FILTER}
            for each in self.host.guests.values()
        ]
        rest = json.dumps([sorted(others), guests, firewalls], sort_keys=True)
        switch = not self._us.firewall.get(_FILTER)
        return View(routes=routes, ours=frozenset(ours), rest=rest, switch=switch)

    def place(self, table: str, prefix: IPv4Network, hop: Hop, mark: str) -> None:
        self.remove(table, prefix)
        kernel = self._kernel(table)
        if hop == "to us":
            kernel.lead(prefix, _US)
            return
        kernel.routes.append(
            KernelRoute(prefix=prefix, device="ens19", gateway=_THEM, protocol=4 if mark == "a" else 3)
        )

    def remove(self, table: str, prefix: IPv4Network) -> None:
        kernel = self._kernel(table)
        kernel.routes = [route for route in kernel.routes if route.prefix != prefix]

    def touch(self, mark: str) -> None:
        self._us.firewall["policy_in"] = {"a": "DROP", "b": "ACCEPT"}[mark]

    def set_switch(self, enabled: bool) -> None:
        self._us.firewall[_FILTER] = int(not enabled)

    def _kernel(self, table: str) -> GuestKernel:
        return self._kernels[int(table.removeprefix("qemu/"))]
