"""The resources of an emulated Azure subscription, and the switches that tests set on it.

Knows no requests: `azure_api` answers them from here, and `azure` adds what the lab asks.
"""

import secrets
import time
import uuid
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from routerd_lab.clouds.azure_access import NETWORK, Access, Assignment
from routerd_lab.clouds.metadata_azure import TOKEN_SECONDS
from routerd_lab.clouds.state import Machine

ARM = "https://management.azure.com"

LIMITS = {
    "VirtualNetworks": ("Virtual Networks", 1000),
    "NetworkInterfaces": ("Network Interfaces", 65536),
    "RouteTables": ("Route Tables", 600),
    "RoutesPerRouteTable": ("Routes per Route Table", 1000),
}
"""Names, words and limits of a subscription as "Usages - List" says them ("Azure subscription and service
limits", as of spring 2026)."""

Json = dict[str, Any]  # Any: JSON of the API, whose fields the emulator mostly passes on


class AzureState:
    """One virtual network with one subnet and its VMs. The emulator calls `on_change` after every write.

    `polls` is how often an asynchronous operation answers `InProgress` before it succeeds, and
    `retry_after` the seconds that it asks to wait in between. With `exclusive` a route table refuses a
    write while another one is at work on it. Each entry of `failing`, a code and a message, makes the next
    operation that ends fail, though it has taken effect.
    """

    def __init__(
        self,
        *,
        network: IPv4Network,
        subnet: IPv4Network,
        machines: Sequence[Machine],
        location: str = "japaneast",
        group: str = "routerd",
        polls: int = 1,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.subscription = str(uuid.uuid4())
        self.location = location
        self.group = group
        self.polls = polls
        self.retry_after: int | None = None
        self.exclusive = False
        self.failing: list[tuple[str, str]] = []
        self.limits = {name: limit for name, (_, limit) in LIMITS.items()}
        self.on_change = on_change
        self.access = Access(Assignment(scope=f"/subscriptions/{self.subscription}", actions=("*",)))
        self.resources: dict[str, Json] = {}
        self._tokens: dict[str, float] = {}
        self.client_id = str(uuid.uuid4())
        self.vnet = self.ref("virtualNetworks/lab")
        self.subnet = f"{self.vnet}/subnets/default"
        self.route_table = self.ref("routeTables/lab")
        self.put(self.vnet, {"addressSpace": {"addressPrefixes": [str(network)]}})
        self.put(self.subnet, {"addressPrefix": str(subnet), "routeTable": {"id": self.route_table}})
        self.put(self.route_table, {"disableBgpRoutePropagation": False, "routes": []})
        self.machines = {machine.name: machine for machine in machines}
        for index, machine in enumerate(machines):
            self._add(machine, f"00-0D-3A-00-00-{index:02X}")

    def ref(self, path: str, provider: str = NETWORK) -> str:
        """Return the resource ID of `type/name`."""
        return f"/subscriptions/{self.subscription}/resourceGroups/{self.group}/providers/{provider}/{path}"

    def interface(self, name: str) -> str:
        """Return the resource ID of a machine's network interface."""
        return self.ref(f"networkInterfaces/{name}-nic")

    def instance(self, name: str) -> str:
        """Return the resource ID of a machine."""
        return self.ref(f"virtualMachines/{name}", "Microsoft.Compute")

    def resource(self, ref: str) -> Json:
        """Return a resource as the API shows it; resource IDs ignore case."""
        return self.resources[ref.lower()]

    def _add(self, machine: Machine, mac: str) -> None:
        nic = self.interface(machine.name)
        config: Json = {"name": "ipconfig1", "id": f"{nic}/ipConfigurations/ipconfig1"}
        config["properties"] = {
            "privateIPAddress": str(machine.address),
            "privateIPAllocationMethod": "Static",
            "privateIPAddressVersion": "IPv4",
            "subnet": {"id": self.subnet},
            "primary": True,
            "provisioningState": "Succeeded",
        }
        if machine.public is not None:
            config["properties"]["publicIPAddress"] = {"id": self.ref(f"publicIPAddresses/{machine.name}-ip")}
        self.put(
            nic,
            {
                "ipConfigurations": [config],
                "enableIPForwarding": False,
                "enableAcceleratedNetworking": False,
                "dnsSettings": {"dnsServers": [], "appliedDnsServers": []},
                "networkSecurityGroup": {"id": self.ref(f"networkSecurityGroups/{machine.name}-nsg")},
                "macAddress": mac,
                "primary": True,
                "virtualMachine": {"id": self.instance(machine.name)},
                "resourceGuid": str(uuid.uuid4()),
            },
        )

    def put(self, ref: str, properties: Json, extra: Json | None = None) -> Json:
        """Make or replace a resource."""
        kind = "/".join([NETWORK, *ref.split(f"{NETWORK}/")[1].split("/")[::2]])
        body: Json = {"name": ref.rpartition("/")[2], "id": ref, "etag": "", "type": kind}
        if kind.count("/") == 1:
            body |= {"location": self.location, "tags": {}}
        body |= extra or {}
        body["properties"] = properties | {"provisioningState": "Succeeded"}
        self.resources[ref.lower()] = body
        self.touch(body)
        return body

    def touch(self, body: Json) -> None:
        """Give a resource a new version; a route and its table are one version."""
        body["etag"] = f'W/"{uuid.uuid4()}"'
        table, _, route = body["id"].partition("/routes/")
        if route:
            self.touch(self.resources[table.lower()])
        for ref, child in self.resources.items():
            if ref.startswith(f"{body['id']}/routes/".lower()):
                child["etag"] = body["etag"]

    def routes_of_table(self) -> list[Json]:
        """Return the routes of the route table, as resources."""
        start = f"{self.route_table}/routes/".lower()
        return [body for ref, body in self.resources.items() if ref.startswith(start)]

    def add_route(self, name: str, prefix: IPv4Network, hop: str, address: IPv4Address | None = None) -> None:
        """Add a route to the table as another user would."""
        properties: Json = {"addressPrefix": str(prefix), "nextHopType": hop}
        if address is not None:
            properties["nextHopIpAddress"] = str(address)
        self.put(f"{self.route_table}/routes/{name}", properties)

    def opens(self, token: str) -> bool:
        """Say whether a token is for Azure Resource Manager and has not expired."""
        return self._tokens.get(token, 0.0) >= time.time()

    def issue(self, resource: str) -> str:
        """Return an access token for a resource; only Azure Resource Manager accepts it."""
        token = secrets.token_urlsafe(60)
        if resource.rstrip("/") in (ARM, "https://management.core.windows.net"):
            self._tokens[token] = time.time() + TOKEN_SECONDS
        return token
