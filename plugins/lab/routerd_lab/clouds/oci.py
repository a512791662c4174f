"""An emulated region of Oracle Cloud Infrastructure: networking, VNIC attachments, and the auth service.

What the API holds is what the site's fabric enforces. The parts have a module each: `oci_inventory`
the resources, `oci_api` the operations on them, `oci_auth` who may call, `metadata_oci` the metadata
service. Sources: the API reference of the Core Services (20160918), "API Errors" (codes and statuses,
429 `TooManyRequests`, 412 `NoEtagMatch`), "Request Signatures", "Details for the Core Services"
(permissions), and the requests of the official SDK. Not emulated: compartments, work requests.
"""

import secrets
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network

from aiohttp import web
from aiohttp.typedefs import Handler

from routerd_lab.clouds.metadata_oci import Issuer, metadata_app
from routerd_lab.clouds.oci_api import NetworkApi
from routerd_lab.clouds.oci_auth import Gatekeeper
from routerd_lab.clouds.oci_inventory import Instance, Inventory
from routerd_lab.clouds.oci_resource import REALM, ApiError, destination, ocid
from routerd_lab.clouds.state import Failure
from routerd_lab.clouds.trouble import Dialect, Troubles

__all__ = ["DROP", "Instance", "OciRegion", "ocid"]

DOMAIN = "oraclecloud.com"
DROP = IPv4Address("0.0.0.0")  # noqa: S104 - a next hop that nobody has
"""The next hop of a rule whose private IP is gone; the VCN drops what matches it."""

_FEDERATION = "/v1/x509"


class OciRegion:
    """One VCN with one subnet and its instances. The emulator calls `on_change` after every write."""

    def __init__(
        self,
        *,
        network: IPv4Network,
        subnet: IPv4Network,
        instances: Sequence[Instance],
        region: str = "ap-osaka-1",
        key: str = "kix",
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.region = region
        self.region_key = key
        self.tenancy = ocid("tenancy", "lab")
        self.inventory = Inventory(region=region, network=network, subnet=subnet, instances=instances)
        self.network_api = NetworkApi(self.inventory, on_change)
        self.issuer = Issuer()
        self.gatekeeper = Gatekeeper(tenancy=self.tenancy, issuer=self.issuer)
        self.troubles = Troubles(
            Dialect(
                operation=_operation,
                reads=lambda operation: not operation.startswith("Update"),
                answer=_refused,
                throttled=Failure(status=429, code="TooManyRequests"),
                broken=Failure(status=500, code="InternalServerError"),
            )
        )

    @property
    def hostnames(self) -> tuple[str, ...]:
        """Return the names by which clients reach this region's services on port 443."""
        return tuple(f"{service}.{self.region}.{DOMAIN}" for service in ("iaas", "auth"))

    def forwarding(self, name: str) -> bool:
        """Say whether an instance's VNIC skips the source/destination check."""
        vnic = self.inventory.vnics.get(ocid("vnic", name, self.region))
        return vnic is not None and bool(vnic.body["skipSourceDestCheck"])

    def routes(self) -> dict[IPv4Network, IPv4Address | None]:
        """Return the IPv4 routes of the table: to an address, to the internet (none), or `DROP`."""
        found: dict[IPv4Network, IPv4Address | None] = {}
        for rule in self.inventory.route_tables[self.inventory.route_table].body["routeRules"]:
            prefix, target = destination(rule), rule["networkEntityId"]
            if prefix is None:
                continue
            if target.startswith("ocid1.privateip."):
                held = self.inventory.private_ips.get(target)
                found[prefix] = DROP if held is None else IPv4Address(held.body["ipAddress"])
            else:
                found[prefix] = None
        return found

    def metadata(self, name: str) -> web.Application:
        """Return the metadata service of an instance, with fresh credentials."""
        held = self.inventory
        vnic = held.vnics[ocid("vnic", name, self.region)].body
        machine = ocid("instance", name, self.region)
        subnet = held.subnets[vnic["subnetId"]].body
        return metadata_app(
            instance={
                "availabilityDomain": "lab:AD-1",
                "faultDomain": "FAULT-DOMAIN-1",
                "compartmentId": held.compartment,
                "tenantId": self.tenancy,
                "displayName": name,
                "hostname": name,
                "id": machine,
                "shape": "VM.Standard.E2.1.Micro",
                "state": "Running",
                "region": self.region,
                "canonicalRegionName": self.region,
                "regionInfo": {
                    "realmKey": REALM,
                    "realmDomainComponent": DOMAIN,
                    "regionKey": self.region_key.upper(),
                    "regionIdentifier": self.region,
                },
            },
            vnics=(
                {
                    "vnicId": vnic["id"],
                    "privateIp": vnic["privateIp"],
                    "vlanTag": 1,
                    "macAddr": vnic["macAddress"],
                    "virtualRouterIp": subnet["virtualRouterIp"],
                    "subnetCidrBlock": subnet["cidrBlock"],
                },
            ),
            principal=self.issuer.principal(
                instance=machine, compartment=held.compartment, tenancy=self.tenancy
            ),
        )

    def app(self) -> web.Application:
        """Return the services as one application, which tells their requests apart by path."""
        app = web.Application(middlewares=[self.troubles.middleware, self._envelope])
        app.router.add_post(_FEDERATION, self.gatekeeper.federate)
        self.network_api.add_routes(app.router)
        return app

    @web.middleware
    async def _envelope(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Admit signed requests, and answer errors as the API does."""
        try:
            if request.path != _FEDERATION:
                await self.gatekeeper.authenticate(request)
            response = await handler(request)
        except ApiError as error:
            return _refused(error.failure, request)
        except web.HTTPException as error:
            failure = Failure(status=error.status, code="NotAuthorizedOrNotFound", message=error.reason)
            return _refused(failure, request)
        response.headers["opc-request-id"] = _trace(request)
        return response


def _operation(request: web.Request, _: bytes) -> str:
    return request.match_info.route.name or ("X509" if request.path == _FEDERATION else "Unknown")


def _refused(failure: Failure, request: web.Request | None = None) -> web.Response:
    headers = {"opc-request-id": _trace(request)}
    if failure.retry_after is not None:
        headers["retry-after"] = str(failure.retry_after)
    body = {"code": failure.code, "message": failure.message}
    return web.json_response(body, status=failure.status, headers=headers)


def _trace(request: web.Request | None) -> str:
    """Return an `opc-request-id`: what the caller sent, and two parts of the service's."""
    asked = request.headers.get("opc-request-id") if request is not None else None
    parts = (asked or secrets.token_hex(16).upper(), secrets.token_hex(16), secrets.token_hex(16))
    return "/".join((parts[0], *(part.upper() for part in parts[1:])))
