"""An emulated region of AWS: one VPC of moto's EC2, and what its fabric enforces."""

import datetime as dt
import secrets
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from aiohttp import web

from routerd_lab.clouds.aws_api import ACCOUNT, AwsApi
from routerd_lab.clouds.aws_start import ec2_models
from routerd_lab.clouds.metadata_aws import Credentials, metadata_app
from routerd_lab.clouds.state import Machine
from routerd_lab.clouds.trouble import Troubles

_LIFETIME = dt.timedelta(hours=6)


class AwsRegion:
    """One VPC with one subnet and its instances. The emulator calls `on_change` after every write."""

    def __init__(
        self,
        *,
        network: IPv4Network,
        subnet: IPv4Network,
        machines: Sequence[Machine],
        region: str = "ap-northeast-1",
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        ec2_backends = ec2_models(region).ec2_backends
        self.region = region
        self.network = network
        self.ec2 = ec2_backends[ACCOUNT][region]
        self.vpc: str = self.ec2.create_vpc(str(network)).id
        self.zone = f"{region}a"
        self.subnet: str = self.ec2.create_subnet(self.vpc, str(subnet), availability_zone=self.zone).id
        gateway = self.ec2.create_internet_gateway()
        self.ec2.attach_internet_gateway(gateway.id, self.vpc)
        self.internet_gateway: str = gateway.id
        (main,) = self.ec2.describe_route_tables(filters={"vpc-id": [self.vpc], "association.main": ["true"]})
        self.route_table: str = main.id
        self.ec2.create_route(main.id, "0.0.0.0/0", gateway_id=gateway.id)
        self.api = AwsApi(
            region=region, ec2=self.ec2, network=network, subnets=frozenset({subnet}), on_change=on_change
        )
        self._enis: dict[str, Any] = {}  # Any: moto's models have no public types
        self._instances: dict[str, Any] = {}  # Any: as above
        for machine in machines:
            self._add(machine)

    def _add(self, machine: Machine) -> None:
        reservation = self.ec2.run_instances(
            "ami-routerd",
            1,
            None,
            [],
            instance_type="t3.micro",
            is_instance_type_default=False,
            subnet_id=self.subnet,
            private_ip=str(machine.address),
            tags={"instance": {"Name": machine.name}},
            region_name=self.region,
            placement=None,
            nics=[],
        )
        (instance,) = reservation.instances
        (eni,) = instance.nics.values()
        if machine.public is not None:
            address = self.ec2.allocate_address("vpc", str(machine.public))
            self.ec2.associate_address(eni=eni, allocation_id=address.allocation_id)
        self._enis[machine.name], self._instances[machine.name] = eni, instance

    # --- what the lab asks ----------------------------------------------------------------------

    @property
    def troubles(self) -> Troubles:
        """Return the scripted troubles and the record of calls."""
        return self.api.troubles

    @property
    def hostnames(self) -> tuple[str, ...]:
        """Return the names by which clients reach this region's services on port 443."""
        return tuple(f"{service}.{self.region}.amazonaws.com" for service in ("ec2", "servicequotas", "sts"))

    def interface(self, name: str) -> str:
        """Return the identifier of a machine's network interface."""
        return str(self._enis[name].id)

    def instance(self, name: str) -> str:
        """Return the identifier of a machine."""
        return str(self._instances[name].id)

    def forwarding(self, name: str) -> bool:
        """Say whether a machine's source/destination check is off."""
        return not self._enis[name].source_dest_check

    def routes(self) -> dict[IPv4Network, IPv4Address | None]:
        """Return the routes of the main table: to an address in the VPC, or to the internet (none)."""
        found: dict[IPv4Network, IPv4Address | None] = {}
        for route in self.ec2.get_route_table(self.route_table).routes:
            if route.local or not route.destination_cidr_block:
                continue
            target = route.interface
            found[IPv4Network(route.destination_cidr_block)] = (
                IPv4Address(target.private_ip_address) if target else None
            )
        return found

    def metadata(self, name: str) -> web.Application:
        """Return the metadata service of a machine."""
        instance, eni = self._instances[name], self._enis[name]
        nic = f"network/interfaces/macs/{eni.mac_address}"
        subnet = self.ec2.get_subnet(self.subnet)
        tree = {
            "instance-id": instance.id,
            "instance-type": "t3.micro",
            "local-ipv4": eni.private_ip_address,
            "mac": eni.mac_address,
            "placement/availability-zone": self.zone,
            "placement/region": self.region,
            f"{nic}/device-number": "0",
            f"{nic}/interface-id": eni.id,
            f"{nic}/local-ipv4s": eni.private_ip_address,
            f"{nic}/mac": eni.mac_address,
            f"{nic}/owner-id": ACCOUNT,
            f"{nic}/subnet-id": self.subnet,
            f"{nic}/subnet-ipv4-cidr-block": subnet.cidr_block,
            f"{nic}/vpc-id": self.vpc,
            f"{nic}/vpc-ipv4-cidr-block": str(self.network),
            f"{nic}/vpc-ipv4-cidr-blocks": str(self.network),
        }
        if eni.public_ip:
            tree |= {"public-ipv4": eni.public_ip, f"{nic}/public-ipv4s": eni.public_ip}
        document = {
            "accountId": ACCOUNT,
            "architecture": "x86_64",
            "availabilityZone": self.zone,
            "imageId": "ami-routerd",
            "instanceId": instance.id,
            "instanceType": "t3.micro",
            "privateIp": eni.private_ip_address,
            "region": self.region,
            "version": "2017-09-30",
        }
        return metadata_app(document, tree, self._issue)

    def _issue(self) -> Credentials:
        made = Credentials(
            access_key="ASIA" + secrets.token_hex(8).upper(),
            secret_key=secrets.token_urlsafe(30),
            token=secrets.token_urlsafe(120),
            expires=dt.datetime.now(dt.UTC) + _LIFETIME,
        )
        self.api.credentials[made.access_key] = made
        return made

    # --- the API ------------------------------------------------------------------------------------

    def app(self) -> web.Application:
        """Return the EC2 Query API and Service Quotas."""
        return self.api.app()
