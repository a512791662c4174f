"""The resources of an emulated OCI region: one VCN with one subnet, its route table, and instances."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network

import attrs

from routerd_lab.clouds.oci_resource import Json, Record, ocid

_CREATED = {"timeCreated": "2026-01-01T00:00:00.000Z"}
_AVAILABLE = {**_CREATED, "lifecycleState": "AVAILABLE"}
_DOMAIN = {"availabilityDomain": "lab:AD-1"}


@attrs.frozen(kw_only=True)
class Instance:
    """A machine of the network, with one VNIC."""

    name: str
    address: IPv4Address
    mac: str = "02:00:17:00:00:01"


class Inventory:
    """The resources of a region by OCID, as the API shows them."""

    def __init__(
        self, *, region: str, network: IPv4Network, subnet: IPv4Network, instances: Sequence[Instance]
    ) -> None:
        self.region = region
        self.network = network
        self.compartment = ocid("compartment", "lab")
        self.vcn = ocid("vcn", "lab", region)
        self.subnet = ocid("subnet", "lab", region)
        self.route_table = ocid("routetable", "lab", region)
        self.internet_gateway = ocid("internetgateway", "lab", region)
        self.vnics: dict[str, Record] = {}
        self.private_ips: dict[str, Record] = {}
        self.attachments: list[Json] = []
        self._common: Json = {"compartmentId": self.compartment, "definedTags": {}, "freeformTags": {}}
        self.vcns = {
            self.vcn: Record(
                {
                    "id": self.vcn,
                    "cidrBlock": str(network),
                    "cidrBlocks": [str(network)],
                    "displayName": "lab",
                }
                | {"defaultRouteTableId": self.route_table, **self._common, **_AVAILABLE}
            )
        }
        self.subnets = {
            self.subnet: Record(
                {"id": self.subnet, "cidrBlock": str(subnet), "vcnId": self.vcn, "displayName": "lab"}
                | {"routeTableId": self.route_table, **self._common, **_AVAILABLE}
                | {"virtualRouterIp": str(subnet[1]), "virtualRouterMac": "00:00:17:00:00:00"}
            )
        }
        self.route_tables: dict[str, Record] = {}
        self.add_route_table(self.route_table, self.vcn, "Default Route Table for lab")
        self.add_rule("0.0.0.0/0", self.internet_gateway)
        for instance in instances:
            self._add(instance)

    def add_route_table(self, ref: str, vcn: str, name: str) -> Record:
        """Add an empty route table."""
        body = {"id": ref, "vcnId": vcn, "routeRules": [], "displayName": name, **self._common, **_AVAILABLE}
        self.route_tables[ref] = Record(body)
        return self.route_tables[ref]

    def add_rule(self, destination: str, target: str, **more: object) -> None:
        """Add a rule to the route table as another user would."""
        table = self.route_tables[self.route_table]
        table.body["routeRules"].append(
            {"destination": destination, "destinationType": "CIDR_BLOCK", "networkEntityId": target}
            | {"routeType": "STATIC", "description": None, "cidrBlock": None, **more}
        )
        table.touch()

    def _add(self, instance: Instance) -> None:
        vnic, machine, address = (
            ocid(kind, instance.name, self.region) for kind in ("vnic", "instance", "privateip")
        )
        self.vnics[vnic] = Record(
            {"id": vnic, "displayName": instance.name, "isPrimary": True, **self._common, **_AVAILABLE}
            | {"privateIp": str(instance.address), "skipSourceDestCheck": False, "subnetId": self.subnet}
            | {"macAddress": instance.mac.upper(), "nsgIds": [], **_DOMAIN}
        )
        self.private_ips[address] = Record(
            {"id": address, "displayName": instance.name, "isPrimary": True, **self._common, **_CREATED}
            | {"ipAddress": str(instance.address), "subnetId": self.subnet, "vnicId": vnic, **_DOMAIN}
        )
        self.attachments.append(
            {"id": ocid("vnicattachment", instance.name, self.region), "instanceId": machine, **_CREATED}
            | {"compartmentId": self.compartment, "subnetId": self.subnet, "vnicId": vnic, **_DOMAIN}
            | {"lifecycleState": "ATTACHED", "nicIndex": 0, "vlanTag": 1, "displayName": None}
        )

    def terminate(self, name: str) -> None:
        """End an instance: its VNIC and private IP are gone, and rules that lead there drop."""
        vnic = ocid("vnic", name, self.region)
        del self.vnics[vnic], self.private_ips[ocid("privateip", name, self.region)]
        self.attachments = [each for each in self.attachments if each["vnicId"] != vnic]
