"""An emulated Azure subscription: the part of Microsoft.Network that a router needs.

This module adds what the lab and the metadata service ask of it. `azure_state` holds the resources,
`azure_access` what the identity may do, and `azure_api` answers requests.
"""

import uuid
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network

from aiohttp import web

from routerd_lab.clouds.azure_api import DIALECT, Arm
from routerd_lab.clouds.azure_state import AzureState
from routerd_lab.clouds.metadata_azure import metadata_app
from routerd_lab.clouds.trouble import Troubles

DROP = IPv4Address("0.0.0.0")  # noqa: S104 - a next hop that nobody has
"""The next hop of a route that drops (`nextHopType: None`)."""

_DEFAULT = IPv4Network("0.0.0.0/0")


class AzureSubscription(AzureState):
    """The subscription with its API, the trouble of that API, and its metadata service."""

    @cached_property
    def troubles(self) -> Troubles:
        """Return the API's trouble, as tests script it."""
        return Troubles(DIALECT)

    @property
    def hostnames(self) -> tuple[str, ...]:
        """Return the names by which clients reach the API on port 443."""
        return ("management.azure.com", "login.microsoftonline.com")

    def forwarding(self, name: str) -> bool:
        """Say whether a machine's interface has IP forwarding enabled."""
        return bool(self.resource(self.interface(name))["properties"]["enableIPForwarding"])

    def routes(self) -> dict[IPv4Network, IPv4Address | None]:
        """Return the effective routes that leave the network: to an address, or to the internet (none)."""
        found: dict[IPv4Network, IPv4Address | None] = {_DEFAULT: None}
        for route in self.routes_of_table():
            properties = route["properties"]
            try:
                prefix = IPv4Network(properties["addressPrefix"])
            except ValueError:
                # The lab forwards IPv4 and knows no service tags.
                continue
            match properties["nextHopType"]:
                case "VirtualAppliance":
                    found[prefix] = IPv4Address(properties["nextHopIpAddress"])
                case "Internet":
                    found[prefix] = None
                case "None" | "VirtualNetworkGateway":
                    found[prefix] = DROP
        return found

    def metadata(self, name: str) -> web.Application:
        """Return the metadata service of a machine."""
        machine = self.machines[name]
        nic = self.resource(self.interface(name))["properties"]
        network = self.resource(self.subnet)["properties"]["addressPrefix"]
        address, _, bits = network.partition("/")
        return metadata_app(
            instance={
                "compute": {
                    "azEnvironment": "AzurePublicCloud",
                    "location": self.location,
                    "name": name,
                    "osType": "Linux",
                    "resourceGroupName": self.group,
                    "resourceId": self.instance(name),
                    "subscriptionId": self.subscription,
                    "vmId": str(uuid.uuid5(uuid.NAMESPACE_URL, self.instance(name))),
                    "vmSize": "Standard_B1s",
                },
                "network": {
                    "interface": [
                        {
                            "ipv4": {
                                "ipAddress": [
                                    {
                                        "privateIpAddress": str(machine.address),
                                        "publicIpAddress": str(machine.public or ""),
                                    }
                                ],
                                "subnet": [{"address": address, "prefix": bits}],
                            },
                            "ipv6": {"ipAddress": []},
                            "macAddress": nic["macAddress"].replace("-", ""),
                        }
                    ]
                },
            },
            client_id=self.client_id,
            issue=self.issue,
        )

    def app(self) -> web.Application:
        """Return Azure Resource Manager."""
        return Arm(self).app(self.troubles)
