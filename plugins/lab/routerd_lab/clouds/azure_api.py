"""Azure Resource Manager as the emulated subscription answers it.

Paths, bodies, ETags, asynchronous operations, pages and errors are those of the Azure REST API
reference ("Virtual networks": Network Interfaces, Route Tables, Routes, Subnets, Usages) and of the ARM
documents "Track asynchronous Azure operations" and "Understand how Azure Resource Manager throttles
requests". Where they are silent, the emulator follows reports by others: a write under an old ETag
(kubernetes-sigs/cluster-api-provider-azure#682), a write while another is at work, which Azure answers
with 429 in spite of few calls (kubernetes/kubernetes#88151, Azure/azure-sdk-for-go#588), a
taken prefix (kubernetes-sigs/cloud-provider-azure#657). No document names the code for a full table; ours has
the same form. A write takes effect at once and only its operation ends later; a later write does
not cancel an earlier one's operation. A client follows operations without a permission.
"""

import copy
import json
import re
import uuid
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import NoReturn

from aiohttp import web

from routerd_lab.clouds.azure_access import NETWORK
from routerd_lab.clouds.azure_state import ARM, LIMITS, AzureState, Json
from routerd_lab.clouds.state import Failure
from routerd_lab.clouds.trouble import Dialect, Troubles

_PAGE = 2
_HOPS = ("VirtualAppliance", "Internet", "None", "VnetLocal", "VirtualNetworkGateway")
_SERVICE_TAG = r"[A-Z][A-Za-z]+(\.[A-Za-z0-9]+)?"
_VERBS = {"GET": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}
_READ_ONLY = ("subnets", "provisioningState", "resourceGuid", "hasBgpOverride")


class ApiError(Exception):
    """An answer with an error status; `detail` is the code and message of a cause within."""

    def __init__(self, failure: Failure, detail: tuple[str, str] | None = None) -> None:
        self.failure = failure
        self.detail = detail
        super().__init__(failure.code)


def _operation(request: web.Request, _: bytes) -> str:
    """Return the action of the role that a request needs."""
    parts = request.path.strip("/").split("/")
    if "providers" not in parts:
        return f"{request.method} {request.path}"
    at = len(parts) - parts[::-1].index("providers")
    return "/".join([parts[at], *parts[at + 1 :: 2], _VERBS.get(request.method, "action")])


def _answered(failure: Failure, detail: tuple[str, str] | None = None) -> web.Response:
    headers = {"x-ms-request-id": str(uuid.uuid4())}
    if failure.retry_after is not None:
        headers["Retry-After"] = str(failure.retry_after)
    error: Json = {"code": failure.code, "message": failure.message}
    if detail is not None:
        error["details"] = [{"code": detail[0], "message": detail[1]}]
    return web.json_response({"error": error}, status=failure.status, headers=headers)


_POLL = f"{NETWORK}/locations/operations/read"

DIALECT = Dialect(
    operation=_operation,
    reads=lambda operation: operation.endswith("/read") and operation != _POLL,
    answer=_answered,
    throttled=Failure(
        status=429, code="TooManyRequests", message="The request is being throttled.", retry_after=1
    ),
    broken=Failure(status=500, code="InternalServerError", message="An error occurred."),
)


class Arm:
    """The API of one subscription."""

    def __init__(self, state: AzureState) -> None:
        self._state = state
        self._operations: dict[str, tuple[str, int]] = {}

    def app(self, troubles: Troubles) -> web.Application:
        """Return the application, whose answers `troubles` may spoil."""
        app = web.Application(middlewares=[troubles.middleware])
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._dispatch(request)
        except ApiError as error:
            return _answered(error.failure, error.detail)

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        self._admit(request)
        ref, action = request.path.rstrip("/"), _operation(request, b"")
        parts = ref.strip("/").split("/")
        if action == _POLL:
            return self._poll(parts[-1])
        if action == "Microsoft.Authorization/permissions/read":
            ref = ref.rpartition("/providers/")[0]
        if not self._state.access.allows(action, ref):
            _refuse(403, "AuthorizationFailed", self._state.access.refusal(action, ref))
        match request.method, action.removeprefix(f"{NETWORK}/").rpartition("/")[0].lower():
            case "GET", "microsoft.authorization/permissions":
                return self._page(request, self._state.access.listed(ref))
            case "GET", "locations/usages":
                return self._page(request, self._usages(ref))
            case "GET", _ if len(parts) % 2:
                return self._list(request, ref)
            case "GET", _:
                return self._answer(self._find(ref))
            case "PUT", "networkinterfaces":
                return self._update_interface(ref, request, await _object(request))
            case "PUT", "routetables":
                return self._write_table(ref, request, await _object(request))
            case "PUT", "routetables/routes":
                return self._write_route(ref, request, await _object(request))
            case "DELETE", "routetables/routes":
                return self._delete_route(ref, request)
            case _:
                return _refuse(405, "MethodNotAllowed", f"{request.method} of {action} is not emulated.")

    def _admit(self, request: web.Request) -> None:
        """Refuse a request without a token or a version, or for another subscription."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not self._state.opens(token):
            _refuse(401, "InvalidAuthenticationToken", "The access token is invalid.")
        if "api-version" not in request.query:
            _refuse(400, "MissingApiVersionParameter", "The api-version query parameter is required.")
        if not request.path.lower().startswith(f"/subscriptions/{self._state.subscription}/"):
            _refuse(404, "SubscriptionNotFound", f"The subscription of {request.path} could not be found.")

    def _find(self, ref: str) -> Json:
        body = self._state.resources.get(ref.lower())
        if body is None:
            name = ref.rsplit("/providers/", maxsplit=1)[-1]
            _refuse(404, "ResourceNotFound", f"The Resource '{name}' was not found.")
        return body

    def _shown(self, body: Json) -> Json:
        shown = copy.deepcopy(body)
        if body["id"].lower() == self._state.route_table.lower():
            shown["properties"]["routes"] = [copy.deepcopy(route) for route in self._state.routes_of_table()]
            users = [
                {"id": each["id"]}
                for each in self._state.resources.values()
                if each["properties"].get("routeTable", {}).get("id", "").lower() == body["id"].lower()
            ]
            if users:
                shown["properties"]["subnets"] = users
        return shown

    def _answer(self, body: Json, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
        return web.json_response(
            self._shown(body), status=status, headers={"ETag": body["etag"], **(headers or {})}
        )

    # --- collections ------------------------------------------------------------------------------

    def _list(self, request: web.Request, ref: str) -> web.StreamResponse:
        start = f"{ref.lower()}/"
        found = [
            self._shown(body)
            for each, body in self._state.resources.items()
            if each.startswith(start) and "/" not in each[len(start) :]
        ]
        return self._page(request, found)

    @staticmethod
    def _page(request: web.Request, found: Sequence[Json]) -> web.StreamResponse:
        """Return one page of a collection; `nextLink` is the full address of the next page."""
        skip = int(request.query.get("$skiptoken", "0"))
        answer: Json = {"value": found[skip : skip + _PAGE]}
        if skip + _PAGE < len(found):
            version = request.query["api-version"]
            answer["nextLink"] = f"{ARM}{request.path}?api-version={version}&$skiptoken={skip + _PAGE}"
        return web.json_response(answer)

    def _usages(self, ref: str) -> list[Json]:
        return [
            {
                "id": f"{ref}/{name}",
                "unit": "Count",
                "currentValue": 0,
                "limit": limit,
                "name": {"value": name, "localizedValue": LIMITS[name][0]},
            }
            for name, limit in self._state.limits.items()
        ]

    # --- asynchronous operations --------------------------------------------------------------------

    def _begun(self, request: web.Request, ref: str) -> dict[str, str]:
        """Begin an asynchronous operation and return the headers by which the client follows it."""
        number = str(uuid.uuid4())
        self._operations[number] = (ref.lower().partition("/routes/")[0], self._state.polls)
        version = request.query["api-version"]
        where = (
            f"/subscriptions/{self._state.subscription}/providers/{NETWORK}/locations/{self._state.location}"
        )
        headers = {
            "Azure-AsyncOperation": f"{ARM}{where}/operations/{number}?api-version={version}",
            "x-ms-request-id": str(uuid.uuid4()),
        }
        if self._state.retry_after is not None:
            headers["Retry-After"] = str(self._state.retry_after)
        return headers

    def _poll(self, number: str) -> web.StreamResponse:
        if number not in self._operations:
            _refuse(404, "OperationNotFound", f"The operation {number} was not found.")
        ref, left = self._operations[number]
        self._operations[number] = ref, left - 1
        if left > 0:
            wait = self._state.retry_after
            headers = {} if wait is None else {"Retry-After": str(wait)}
            return web.json_response({"status": "InProgress"}, headers=headers)
        if self._state.failing:
            code, message = self._state.failing.pop(0)
            return web.json_response({"status": "Failed", "error": {"code": code, "message": message}})
        return web.json_response({"status": "Succeeded"})

    def _written(self, body: Json, request: web.Request, status: int) -> web.StreamResponse:
        body["properties"]["provisioningState"] = "Succeeded"
        self._state.touch(body)
        self._state.on_change()
        shown = self._shown(body)
        shown["properties"]["provisioningState"] = "Updating"
        return web.json_response(shown, status=status, headers=self._begun(request, body["id"]))

    def _alone(self, table: Json) -> None:
        """Refuse a write while another one is at work on a table."""
        at_work = (ref for ref, left in self._operations.values() if left >= 0)
        if self._state.exclusive and table["id"].lower() in at_work:
            text = f"Operation PutRouteOperation is updating resource {table['id']}."
            raise ApiError(
                Failure(
                    status=429, code="RetryableError", message="A retryable error occurred.", retry_after=11
                ),
                ("RetryableErrorDueToAnotherOperation", f"{text} The call can be retried in 11 seconds."),
            )

    # --- writes ---------------------------------------------------------------------------------------

    def _update_interface(self, ref: str, request: web.Request, asked: Json) -> web.StreamResponse:
        """Replace an interface; a field that the request leaves out is reset, as in ARM."""
        body = self._find(ref)
        missing = self._state.access.unlinked(asked)
        if missing is not None:
            text = self._state.access.linked_refusal(f"{NETWORK}/networkInterfaces/write", ref, missing)
            _refuse(403, "LinkedAuthorizationFailed", text)
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

    def _write_table(self, ref: str, request: web.Request, asked: Json) -> web.StreamResponse:
        """Replace a route table and its routes; a field that the request leaves out is reset or removed."""
        table = self._find(ref)
        _match(table, request)
        self._alone(table)
        properties = asked.get("properties")
        if not isinstance(properties, dict) or "location" not in asked:
            _refuse(400, "InvalidRequestFormat", "Cannot parse the request: location or properties.")
        routes = [(each.get("name", ""), each.get("properties", {})) for each in properties.get("routes", [])]
        self._judge(routes)
        for each in self._state.routes_of_table():
            del self._state.resources[each["id"].lower()]
        for name, route in routes:
            self._state.put(f"{table['id']}/routes/{name}", _writable(route))
        table["properties"] = {"disableBgpRoutePropagation": False} | _writable(properties) | {"routes": []}
        table["tags"] = asked.get("tags", {})
        return self._written(table, request, 200)

    def _write_route(self, ref: str, request: web.Request, asked: Json) -> web.StreamResponse:
        table, present = (
            self._find(ref[: ref.lower().rindex("/routes/")]),
            self._state.resources.get(ref.lower()),
        )
        if present is not None:
            _match(present, request)
        self._alone(table)
        name, properties = ref.rpartition("/")[2], asked.get("properties", {})
        others = [route for route in self._state.routes_of_table() if route["id"].lower() != ref.lower()]
        self._judge([*((route["name"], route["properties"]) for route in others), (name, properties)])
        body = self._state.put(f"{table['id']}/routes/{name}", _writable(properties))
        return self._written(body, request, 201 if present is None else 200)

    def _judge(self, routes: Sequence[tuple[str, Json]]) -> None:
        """Refuse a table of these routes, by name, if Azure would."""
        names: dict[str, str] = {}
        for name, properties in routes:
            prefix = _prefix(properties)
            if prefix in names:
                text = f"Route: {name} conflicts with Route: {names[prefix]}."
                _refuse(400, "RouteConflict", f"{text} Routes cannot have the same AddressPrefix.")
            names[prefix] = name
        limit = self._state.limits["RoutesPerRouteTable"]
        if len(routes) > limit:
            _refuse(400, "RouteLimitReached", f"A route table cannot have more than {limit} routes.")

    def _delete_route(self, ref: str, request: web.Request) -> web.StreamResponse:
        present = self._state.resources.get(ref.lower())
        if present is None:
            return web.Response(status=204)
        table = self._find(ref[: ref.lower().rindex("/routes/")])
        _match(present, request)
        self._alone(table)
        del self._state.resources[ref.lower()]
        self._state.touch(table)
        self._state.on_change()
        headers = self._begun(request, table["id"])
        headers["Location"] = headers["Azure-AsyncOperation"].replace("/operations/", "/operationResults/")
        return web.Response(status=202, headers=headers)


def _prefix(properties: Json) -> str:
    """Return the prefix of a valid route: IPv4, IPv6, or a service tag."""
    hop, address = properties.get("nextHopType"), properties.get("nextHopIpAddress")
    prefix = properties.get("addressPrefix", "")
    try:
        if not re.fullmatch(_SERVICE_TAG, prefix):
            prefix = str(ip_network(prefix))
        if address:
            ip_address(address)
    except ValueError:
        _refuse(400, "InvalidRequestFormat", "Cannot parse addressPrefix or nextHopIpAddress.")
    if hop not in _HOPS or (hop == "VirtualAppliance") != bool(address):
        _refuse(400, "InvalidRequestFormat", "Cannot parse nextHopType or nextHopIpAddress.")
    return str(prefix)


def _writable(properties: Json) -> Json:
    return {key: value for key, value in properties.items() if key not in _READ_ONLY}


def _match(body: Json, request: web.Request) -> None:
    expected = request.headers.get("If-Match")
    if expected not in (None, "*", body["etag"]):
        text = f"Etag provided in if-match header {expected} does not match etag {body['etag']} of resource"
        raise ApiError(
            Failure(status=412, code="PreconditionFailed", message="Precondition failed."),
            ("PreconditionFailedEtagMismatch", f"{text} {body['id']}."),
        )


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
