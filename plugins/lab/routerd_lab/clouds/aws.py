"""An emulated region of AWS: moto's EC2, with the rules that moto lacks and a fabric depends on.

Requests are answered by moto's own server application. Added here, from the Amazon EC2 API
Reference: credentials must be the instance's own (`AuthFailure`), `CreateRoute` on a taken
prefix is `RouteAlreadyExists`, inside the VPC only a subnet's own prefix can be routed, a table has
a quota (`RouteLimitExceeded`), and a stale next hop is a `blackhole`. Not emulated: signatures and
IAM policies (use `failures`).
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web

from routerd_lab.clouds.metadata_aws import Credentials, Metadata
from routerd_lab.clouds.state import Failure, FailurePlan, Machine

ACCOUNT = "123456789012"
MAX_ROUTES = 500
"""Routes in a table; the default quota, adjustable up to 1000 (Amazon VPC quotas)."""

_LIFETIME = dt.timedelta(hours=6)
_CREDENTIAL = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/aws4_request")
_READS = ("Describe", "Get", "List")


class AwsRegion:
    """One VPC with one subnet and its instances. `on_change` is called after every write."""

    def __init__(
        self,
        *,
        network: IPv4Network,
        subnet: IPv4Network,
        machines: Sequence[Machine],
        region: str = "ap-northeast-1",
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        # Hundreds of machine images that nobody starts would cost moto most of a second.
        os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
        from moto.ec2.models import ec2_backends  # noqa: PLC0415 - reads the variable set above
        from moto.server import DomainDispatcherApplication, create_backend_app  # noqa: PLC0415 - as above
        from werkzeug.test import Client  # noqa: PLC0415 - as above

        self.region = region
        self.network = network
        self.on_change = on_change
        self.failures = FailurePlan()
        self._moto = Client(DomainDispatcherApplication(create_backend_app))
        self._one_at_a_time = asyncio.Lock()
        self._credentials: dict[str, Credentials] = {}
        self._ec2 = ec2_backends[ACCOUNT][region]
        self.vpc: str = self._ec2.create_vpc(str(network)).id
        self.zone = f"{region}a"
        self.subnet: str = self._ec2.create_subnet(self.vpc, str(subnet), availability_zone=self.zone).id
        gateway = self._ec2.create_internet_gateway()
        self._ec2.attach_internet_gateway(gateway.id, self.vpc)
        self.internet_gateway: str = gateway.id
        (main,) = self._ec2.describe_route_tables(
            filters={"vpc-id": [self.vpc], "association.main": ["true"]}
        )
        self.route_table: str = main.id
        self._ec2.create_route(main.id, "0.0.0.0/0", gateway_id=gateway.id)
        self._subnet_prefixes = {subnet}
        self._enis: dict[str, Any] = {}  # Any: moto's models have no public types
        self._instances: dict[str, Any] = {}  # Any: as above
        for machine in machines:
            self._add(machine)

    def _add(self, machine: Machine) -> None:
        reservation = self._ec2.run_instances(
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
            address = self._ec2.allocate_address("vpc", str(machine.public))
            self._ec2.associate_address(eni=eni, allocation_id=address.allocation_id)
        self._enis[machine.name], self._instances[machine.name] = eni, instance

    # --- what the lab asks ----------------------------------------------------------------------

    @property
    def hostnames(self) -> tuple[str, ...]:
        """Return the names under which this region's services must be reachable on port 443."""
        return tuple(f"{service}.{self.region}.amazonaws.com" for service in ("ec2", "sts"))

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
        for route in self._ec2.get_route_table(self.route_table).routes:
            if route.local or not route.destination_cidr_block:
                continue
            target = route.interface
            found[IPv4Network(route.destination_cidr_block)] = (
                IPv4Address(target.private_ip_address) if target else None
            )
        return found

    def metadata(self, name: str) -> Metadata:
        """Return what the metadata service says to a machine."""
        instance, eni = self._instances[name], self._enis[name]
        nic = f"network/interfaces/macs/{eni.mac_address}"
        subnet = self._ec2.get_subnet(self.subnet)
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
        return Metadata(document=document, tree=tree, credentials=self._issue)

    def _issue(self) -> Credentials:
        made = Credentials(
            access_key="ASIA" + secrets.token_hex(8).upper(),
            secret_key=secrets.token_urlsafe(30),
            token=secrets.token_urlsafe(120),
            expires=dt.datetime.now(dt.UTC) + _LIFETIME,
        )
        self._credentials[made.access_key] = made
        return made

    # --- the API ------------------------------------------------------------------------------------

    def app(self) -> web.Application:
        """Return the EC2 Query API."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        form = {key: values[0] for key, values in parse_qs(body.decode()).items()}
        action = form.get("Action", "")
        failure = self.failures.reach(action) or self._refusal(request, form)
        if failure is not None:
            return _error(failure)
        async with self._one_at_a_time:
            failure = self._rule(action, form)
            if failure is not None:
                return _error(failure)
            status, headers, answer = await asyncio.to_thread(self._ask_moto, request, body)
            if action == "DescribeRouteTables":
                answer = self._with_blackholes(answer)
        if status < 300 and not action.startswith(_READS):
            self.on_change()
        return web.Response(status=status, headers={"Content-Type": headers}, body=answer)

    def _ask_moto(self, request: web.Request, body: bytes) -> tuple[int, str, bytes]:
        answer = self._moto.open(
            path=request.path,
            base_url=f"https://{request.host}",
            method=request.method,
            headers=[
                (key, value) for key, value in request.headers.items() if key.lower() != "content-length"
            ],
            data=body,
        )
        return answer.status_code, answer.headers.get("Content-Type", "text/xml"), answer.get_data()

    def _refusal(self, request: web.Request, form: Mapping[str, str]) -> Failure | None:
        """Return why the caller is refused, if it is."""
        scope = _CREDENTIAL.search(request.headers.get("Authorization", ""))
        if scope is None:
            return Failure(
                status=400,
                code="MissingAuthenticationToken",
                message="Request is missing Authentication Token",
            )
        held = self._credentials.get(scope[1])
        if held is None or request.headers.get("X-Amz-Security-Token") != held.token:
            return Failure(
                status=401,
                code="AuthFailure",
                message="AWS was not able to validate the provided access credentials",
            )
        if held.expires < dt.datetime.now(dt.UTC):
            return Failure(status=400, code="RequestExpired", message="Request has expired.")
        if scope[2] != self.region or not form.get("Action"):
            return Failure(
                status=400, code="InvalidAction", message="The action is not valid for this endpoint"
            )
        return None

    def _rule(self, action: str, form: Mapping[str, str]) -> Failure | None:
        """Return what EC2 refuses of a new route and moto does not."""
        table = self._ec2.route_tables.get(form.get("RouteTableId", ""))
        text = form.get("DestinationCidrBlock", "")
        if action != "CreateRoute" or table is None or not text:
            return None
        try:
            prefix = IPv4Network(text)
        except ValueError:
            return Failure(
                status=400,
                code="InvalidParameterValue",
                message=f"Value ({text}) for parameter destinationCidrBlock is invalid.",
            )
        if any(route.destination_cidr_block == text for route in table.routes):
            return Failure(
                status=400,
                code="RouteAlreadyExists",
                message=f"The route identified by {text} already exists.",
            )
        if prefix.subnet_of(self.network) and prefix not in self._subnet_prefixes:
            return Failure(
                status=400,
                code="InvalidParameterValue",
                message=f"The destination CIDR block {text} is equal to or more specific than one of "
                "this VPC's CIDR blocks, and matches no subnet.",
            )
        if len(table.routes) >= MAX_ROUTES:
            return Failure(
                status=400,
                code="RouteLimitExceeded",
                message=f"The maximum number of routes has been reached ({MAX_ROUTES}).",
            )
        return None

    def _with_blackholes(self, answer: bytes) -> bytes:
        """Mark the routes whose interface is gone; moto says `active` of all."""
        text = answer.decode()
        for item in set(re.findall(r"<networkInterfaceId>(eni-[0-9a-f]+)</networkInterfaceId>", text)):
            if item not in self._ec2.enis:
                text = re.sub(
                    rf"(<networkInterfaceId>{item}</networkInterfaceId>(?:(?!</item>).)*?<state>)active",
                    r"\1blackhole",
                    text,
                    flags=re.DOTALL,
                )
        return text.encode()


def _error(failure: Failure) -> web.Response:
    """Return an error in EC2's own form (Amazon EC2 API Reference, "Error codes")."""
    trace = secrets.token_hex(16)
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error>'
        f"<Code>{failure.code}</Code><Message>{failure.message}</Message>"
        f"</Error></Errors><RequestID>{trace}</RequestID></Response>"
    )
    headers = {} if failure.retry_after is None else {"Retry-After": str(failure.retry_after)}
    return web.Response(status=failure.status, text=text, content_type="text/xml", headers=headers)
