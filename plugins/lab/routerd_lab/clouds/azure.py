"""An emulated Azure subscription: the part of Microsoft.Network that a router needs.

Paths, bodies, ETags, asynchronous operations, pages and errors are those of the Azure REST API
reference ("Virtual networks": Network Interfaces, Route Tables, Routes, Subnets) and of the ARM
documents "Track asynchronous Azure operations" and "Throttling Resource Manager requests". Not
emulated: role assignments (use `failures`), preemption of one operation by the next. The code
for a taken prefix (`RouteConflict`) is as reported in kubernetes-sigs/cloud-provider-azure#657; that for
a full table is not documented, ours is of the same form.
"""

from __future__ import annotations

import copy
import json
import secrets
import time
import uuid
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any, NoReturn

from aiohttp import web

from routerd_lab.clouds.metadata_azure import TOKEN_SECONDS, Metadata
from routerd_lab.clouds.state import Failure, FailurePlan, Machine

NETWORK = "Microsoft.Network"
MAX_ROUTES = 400
"""Routes in a table ("Azure subscription and service limits", networking limits)."""

DROP = IPv4Address("0.0.0.0")  # noqa: S104 - a next hop that nobody has
"""The next hop of a route that drops (`nextHopType: None`)."""

_DEFAULT = IPv4Network("0.0.0.0/0")
_ARM = "https://management.azure.com"
_PAGE = 2
_HOPS = ("VirtualAppliance", "Internet", "None", "VnetLocal", "VirtualNetworkGateway")

Json = dict[str, Any]  # Any: JSON of the API, whose fields the emulator mostly passes on


class ApiError(Exception):
    """An answer with an error status."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.code)


class AzureSubscription:
    """One virtual network with one subnet and its VMs. `on_change` is called after every write.

    `polls` is how often an asynchronous operation answers `InProgress` before it has succeeded.
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
        self.on_change = on_change
        self.failures = FailurePlan()
        self._tokens: dict[str, float] = {}
        self._operations: dict[str, int] = {}
        self._resources: dict[str, Json] = {}
        self._client_id = str(uuid.uuid4())
        self._tenant = str(uuid.uuid4())
        self.vnet = self.ref("virtualNetworks/lab")
        self.subnet = f"{self.vnet}/subnets/default"
        self.route_table = self.ref("routeTables/lab")
        self._put(self.vnet, {"addressSpace": {"addressPrefixes": [str(network)]}})
        self._put(self.subnet, {"addressPrefix": str(subnet), "routeTable": {"id": self.route_table}})
        self._put(self.route_table, {"disableBgpRoutePropagation": False, "routes": []})
        self._machines = {machine.name: machine for machine in machines}
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
        return self._resources[ref.lower()]

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
        self._put(
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

    def _put(self, ref: str, properties: Json, extra: Json | None = None) -> Json:
        kind = "/".join([NETWORK, *ref.split(f"{NETWORK}/")[1].split("/")[::2]])
        body: Json = {"name": ref.rpartition("/")[2], "id": ref, "etag": "", "type": kind}
        if kind.count("/") == 1:
            body |= {"location": self.location, "tags": {}}
        body |= extra or {}
        body["properties"] = properties | {"provisioningState": "Succeeded"}
        self._resources[ref.lower()] = body
        _touch(body)
        return body

    # --- what the lab asks ----------------------------------------------------------------------

    @property
    def hostnames(self) -> tuple[str, ...]:
        """Return the names under which the API must be reachable on port 443."""
        return ("management.azure.com", "login.microsoftonline.com")

    def forwarding(self, name: str) -> bool:
        """Say whether a machine's interface has IP forwarding enabled."""
        return bool(self.resource(self.interface(name))["properties"]["enableIPForwarding"])

    def routes(self) -> dict[IPv4Network, IPv4Address | None]:
        """Return the effective routes that leave the network: to an address, or to the internet (none)."""
        found: dict[IPv4Network, IPv4Address | None] = {_DEFAULT: None}
        for route in self._routes():
            properties = route["properties"]
            prefix = IPv4Network(properties["addressPrefix"])
            match properties["nextHopType"]:
                case "VirtualAppliance":
                    found[prefix] = IPv4Address(properties["nextHopIpAddress"])
                case "Internet":
                    found[prefix] = None
                case "None" | "VirtualNetworkGateway":
                    found[prefix] = DROP
        return found

    def _routes(self) -> list[Json]:
        start = f"{self.route_table}/routes/".lower()
        return [body for ref, body in self._resources.items() if ref.startswith(start)]

    def add_route(self, name: str, prefix: IPv4Network, hop: str, address: IPv4Address | None = None) -> None:
        """Put a route into the table as somebody else would."""
        properties: Json = {"addressPrefix": str(prefix), "nextHopType": hop}
        if address is not None:
            properties["nextHopIpAddress"] = str(address)
        self._put(f"{self.route_table}/routes/{name}", properties)
        _touch(self.resource(self.route_table))

    def metadata(self, name: str) -> Metadata:
        """Return what the metadata service says to a machine."""
        machine = self._machines[name]
        nic = self.resource(self.interface(name))["properties"]
        network = self.resource(self.subnet)["properties"]["addressPrefix"]
        address, _, bits = network.partition("/")
        return Metadata(
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
            client_id=self._client_id,
            token=self._issue,
        )

    def _issue(self, resource: str) -> str:
        token = secrets.token_urlsafe(60)
        if resource.rstrip("/") in (_ARM, "https://management.core.windows.net"):
            self._tokens[token] = time.time() + TOKEN_SECONDS
        return token

    # --- the API ------------------------------------------------------------------------------------

    def app(self) -> web.Application:
        """Return Azure Resource Manager."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._dispatch(request)
        except ApiError as error:
            failure = error.failure
        headers = {"x-ms-request-id": str(uuid.uuid4())}
        if failure.retry_after is not None:
            headers["Retry-After"] = str(failure.retry_after)
        return web.json_response(
            {"error": {"code": failure.code, "message": failure.message}},
            status=failure.status,
            headers=headers,
        )

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or self._tokens.get(token, 0.0) < time.time():
            _refuse(401, "InvalidAuthenticationToken", "The access token is invalid.")
        if "api-version" not in request.query:
            _refuse(400, "MissingApiVersionParameter", "The api-version query parameter is required.")
        parts = request.path.strip("/").split("/")
        if len(parts) < 7 or parts[1].lower() != self.subscription:
            _refuse(404, "SubscriptionNotFound", f"The subscription of {request.path} could not be found.")
        if "locations" in parts:
            return self._poll(parts[-1])
        kinds, names = parts[6::2], parts[7::2]
        verb = {"GET": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}.get(
            request.method, "action"
        )
        action = "/".join([parts[5], *kinds, verb])
        failure = self.failures.reach(action)
        if failure is not None:
            raise ApiError(failure)
        if len(kinds) > len(names):
            return self._list(request)
        ref = request.path.rstrip("/")
        match request.method, kinds[-1].lower():
            case "GET", _:
                return self._answer(self._find(ref))
            case "PUT", "networkinterfaces":
                return self._update_interface(ref, request, await _object(request))
            case "PUT", "routes":
                return self._write_route(ref, request, await _object(request))
            case "DELETE", "routes":
                return self._delete_route(ref, request)
            case "PATCH", "networkinterfaces":
                body = self._find(ref)
                body["tags"] = (await _object(request)).get("tags", {})
                _touch(body)
                return self._answer(body)
            case _:
                return _refuse(405, "MethodNotAllowed", f"{request.method} of {action} is not emulated.")

    def _find(self, ref: str) -> Json:
        body = self._resources.get(ref.lower())
        if body is None:
            name = ref.rsplit("/providers/", maxsplit=1)[-1]
            _refuse(404, "ResourceNotFound", f"The Resource '{name}' was not found.")
        return body

    def _shown(self, body: Json) -> Json:
        shown = copy.deepcopy(body)
        if body["id"].lower() == self.route_table.lower():
            shown["properties"]["routes"] = [copy.deepcopy(route) for route in self._routes()]
        return shown

    def _answer(self, body: Json, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
        return web.json_response(
            self._shown(body), status=status, headers={"ETag": body["etag"], **(headers or {})}
        )

    def _list(self, request: web.Request) -> web.StreamResponse:
        """Return one page of a collection; `nextLink` is the whole address of the next one."""
        start = request.path.lower().rstrip("/") + "/"
        found = [
            self._shown(body)
            for ref, body in self._resources.items()
            if ref.startswith(start) and "/" not in ref[len(start) :]
        ]
        skip = int(request.query.get("$skiptoken", "0"))
        answer: Json = {"value": found[skip : skip + _PAGE]}
        if skip + _PAGE < len(found):
            version = request.query["api-version"]
            answer["nextLink"] = f"{_ARM}{request.path}?api-version={version}&$skiptoken={skip + _PAGE}"
        return web.json_response(answer)

    def _operation(self, request: web.Request) -> dict[str, str]:
        """Begin an asynchronous operation and return the headers by which it is followed."""
        number = str(uuid.uuid4())
        self._operations[number] = self.polls
        version = request.query["api-version"]
        where = f"/subscriptions/{self.subscription}/providers/{NETWORK}/locations/{self.location}"
        return {
            "Azure-AsyncOperation": f"{_ARM}{where}/operations/{number}?api-version={version}",
            "x-ms-request-id": str(uuid.uuid4()),
        }

    def _poll(self, number: str) -> web.StreamResponse:
        if number not in self._operations:
            _refuse(404, "OperationNotFound", f"The operation {number} was not found.")
        self._operations[number] -= 1
        status = "InProgress" if self._operations[number] >= 0 else "Succeeded"
        return web.json_response({"status": status})

    def _update_interface(self, ref: str, request: web.Request, asked: Json) -> web.StreamResponse:
        """Replace an interface; what a request leaves out is reset, as ARM does it."""
        body = self._find(ref)
        _match(body, request)
        properties = asked.get("properties")
        if (
            not isinstance(properties, dict)
            or not properties.get("ipConfigurations")
            or "location" not in asked
        ):
            _refuse(400, "InvalidRequestFormat", "Cannot parse the request: location or ipConfigurations.")
        if not isinstance(properties.get("enableIPForwarding", False), bool):
            _refuse(400, "InvalidRequestFormat", "enableIPForwarding is not a boolean.")
        before = body["properties"]
        fixed = {key: before[key] for key in ("macAddress", "primary", "virtualMachine", "resourceGuid")}
        unset = {"enableIPForwarding": False, "enableAcceleratedNetworking": False}
        body["properties"] = unset | properties | fixed
        body["tags"] = asked.get("tags", {})
        return self._written(body, request, 200)

    def _written(self, body: Json, request: web.Request, status: int) -> web.StreamResponse:
        body["properties"]["provisioningState"] = "Succeeded"
        _touch(body)
        self.on_change()
        shown = self._shown(body)
        shown["properties"]["provisioningState"] = "Updating"
        return web.json_response(shown, status=status, headers=self._operation(request))

    def _write_route(self, ref: str, request: web.Request, asked: Json) -> web.StreamResponse:
        table_ref = ref[: ref.lower().rindex("/routes/")]
        table, present = self._find(table_ref), self._resources.get(ref.lower())
        if present is not None:
            _match(present, request)
        properties = asked.get("properties", {})
        hop, address = properties.get("nextHopType"), properties.get("nextHopIpAddress")
        try:
            prefix = IPv4Network(properties["addressPrefix"])
            if address:
                IPv4Address(address)
        except (KeyError, ValueError):
            _refuse(400, "InvalidRequestFormat", "Cannot parse addressPrefix or nextHopIpAddress.")
        if hop not in _HOPS or (hop == "VirtualAppliance") != bool(address):
            _refuse(400, "InvalidRequestFormat", "Cannot parse nextHopType or nextHopIpAddress.")

        others = [route for route in self._routes() if route["id"].lower() != ref.lower()]
        taken = [route for route in others if route["properties"]["addressPrefix"] == str(prefix)]
        if taken:
            text = f"Route: {ref.rpartition('/')[2]} conflicts with Route: {taken[0]['name']}."
            _refuse(400, "RouteConflict", f"{text} Routes cannot have the same AddressPrefix.")
        if len(others) >= MAX_ROUTES:
            _refuse(400, "RouteLimitReached", f"A route table cannot have more than {MAX_ROUTES} routes.")
        body = self._put(f"{table['id']}/routes/{ref.rpartition('/')[2]}", dict(properties))
        _touch(table)
        return self._written(body, request, 201 if present is None else 200)

    def _delete_route(self, ref: str, request: web.Request) -> web.StreamResponse:
        present = self._resources.get(ref.lower())
        if present is None:
            return web.Response(status=204)
        _match(present, request)
        del self._resources[ref.lower()]
        _touch(self._find(ref[: ref.lower().rindex("/routes/")]))
        self.on_change()
        headers = self._operation(request)
        headers["Location"] = headers["Azure-AsyncOperation"].replace("/operations/", "/operationResults/")
        return web.Response(status=202, headers=headers)


def _touch(body: Json) -> None:
    body["etag"] = f'W/"{uuid.uuid4()}"'


def _match(body: Json, request: web.Request) -> None:
    expected = request.headers.get("If-Match")
    if expected not in (None, "*", body["etag"]):
        _refuse(412, "PreconditionFailed", f"Precondition If-Match failed for {body['id']}.")


def _refuse(status: int, code: str, message: str) -> NoReturn:
    raise ApiError(Failure(status=status, code=code, message=message))


async def _object(request: web.Request) -> Json:
    try:
        asked = json.loads(await request.read())
    except ValueError:
        asked = None
    if not isinstance(asked, dict):
        _refuse(400, "InvalidRequestContent", "The request content was invalid.")
    return asked
