"""The Networking and Compute APIs of an emulated OCI region (Core Services API, 20160918).

Operations, fields, headers and error codes are those of the API reference and of the official SDK;
permissions by operation those of "Details for the Core Services". Where they are silent, the emulator
checks permissions before `if-match` and that before the content; a rule whose target is gone stays and
may be written back.
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence

from aiohttp import web
from aiohttp.typedefs import Handler

from routerd_lab.clouds.oci_inventory import Inventory
from routerd_lab.clouds.oci_resource import ApiError, Json, Record, destination, not_found

BASE = "/20160918"
MAX_RULES = 200
_DEFAULTS = {"destinationType": "CIDR_BLOCK", "routeType": "STATIC", "description": None, "cidrBlock": None}
_VNIC_FIELDS = frozenset(
    {"skipSourceDestCheck", "displayName", "hostnameLabel", "nsgIds", "definedTags", "freeformTags"}
)
_TARGETS = {"privateip": "PRIVATE_IP_ROUTE_TABLE", "internetgateway": "INTERNET_GATEWAY"}


class NetworkApi:
    """The operations. `granted` are the caller's permissions; with none the caller may do everything."""

    def __init__(self, inventory: Inventory, on_change: Callable[[], None]) -> None:
        self.granted: frozenset[str] | None = None
        self.max_rules = MAX_RULES
        self._inventory = inventory
        self._on_change = on_change

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the paths; each route has the name of its operation."""
        held = self._inventory
        for path, operation, permission, collection in (
            ("vnics", "GetVnic", "VNIC_READ", held.vnics),
            ("privateIps", "GetPrivateIp", "PRIVATE_IP_READ", held.private_ips),
            ("subnets", "GetSubnet", "SUBNET_READ", held.subnets),
            ("vcns", "GetVcn", "VCN_READ", held.vcns),
            ("routeTables", "GetRouteTable", "ROUTE_TABLE_READ", held.route_tables),
        ):
            router.add_get(f"{BASE}/{path}/{{id}}", self._get(collection, permission), name=operation)
        router.add_put(f"{BASE}/vnics/{{id}}", self._update_vnic, name="UpdateVnic")
        router.add_put(f"{BASE}/routeTables/{{id}}", self._update_route_table, name="UpdateRouteTable")
        router.add_get(f"{BASE}/privateIps", self._list_private_ips, name="ListPrivateIps")
        router.add_get(f"{BASE}/vnicAttachments", self._list_attachments, name="ListVnicAttachments")

    def _need(self, *permissions: str) -> None:
        if self.granted is not None and not self.granted.issuperset(permissions):
            raise not_found()

    def _get(self, collection: Mapping[str, Record], permission: str) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            self._need(permission)
            return _answer(_find(collection, request))

        return handle

    async def _update_vnic(self, request: web.Request) -> web.StreamResponse:
        self._need("VNIC_UPDATE")
        record = _find(self._inventory.vnics, request)
        _match(record, request)
        asked = await _object(request)
        if unknown := asked.keys() - _VNIC_FIELDS:
            raise ApiError(400, "InvalidParameter", f"Unrecognized field {min(unknown)}")
        if not isinstance(asked.get("skipSourceDestCheck", False), bool):
            raise ApiError(400, "InvalidParameter", "skipSourceDestCheck must be a boolean")
        record.body |= asked
        record.touch()
        self._on_change()
        return _answer(record)

    async def _update_route_table(self, request: web.Request) -> web.StreamResponse:
        self._need("ROUTE_TABLE_UPDATE")
        record = _find(self._inventory.route_tables, request)
        asked = await _object(request)
        present = record.body["routeRules"]
        rules = asked.get("routeRules", present)
        if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
            raise ApiError(400, "InvalidParameter", "routeRules must be a list of rules")
        self._need(*_attachments(present, rules))
        _match(record, request)
        if len(rules) > self.max_rules:
            raise ApiError(400, "LimitExceeded", f"route table cannot have more than {self.max_rules} rules")
        known = {(rule["destination"], rule["networkEntityId"]) for rule in present}
        seen: set[object] = set()
        for rule in rules:
            to = rule.get("destination") or rule.get("cidrBlock")
            if (to, rule.get("networkEntityId")) not in known:
                self._check(rule)
            if to in seen:
                raise ApiError(400, "InvalidParameter", f"Duplicate rule for destination {to}")
            seen.add(to)
        kept = ("displayName", "definedTags", "freeformTags")
        record.body |= {key: asked[key] for key in kept if key in asked}
        record.body["routeRules"] = [_DEFAULTS | rule for rule in rules]
        record.touch()
        self._on_change()
        return _answer(record)

    def _check(self, rule: Json) -> None:
        """Refuse a single new rule as the API would."""
        entity, prefix = rule.get("networkEntityId"), destination(rule)
        if not isinstance(entity, str):
            raise ApiError(400, "InvalidParameter", "networkEntityId is required in every route rule")
        if entity.startswith("ocid1.privateip.") and entity not in self._inventory.private_ips:
            raise ApiError(404, "NotAuthorizedOrNotFound", f"Private IP {entity} not found")
        if entity.startswith("ocid1.vnic."):
            raise ApiError(
                400,
                "InvalidParameter",
                f"The requested networkEntityId {entity} is invalid: Invalid entity type in Id {entity}",
            )
        if rule.get("destinationType", "CIDR_BLOCK") == "CIDR_BLOCK" and prefix is None:
            text = rule.get("destination") or rule.get("cidrBlock")
            raise ApiError(400, "InvalidParameter", f"destination {text} is not a valid CIDR block")
        if prefix is not None and prefix.prefixlen == 32 and prefix.subnet_of(self._inventory.network):
            raise ApiError(400, "InvalidParameter", f"{prefix} is more specific than a subnet of the VCN")

    async def _list_private_ips(self, request: web.Request) -> web.StreamResponse:
        self._need("PRIVATE_IP_READ")
        query = request.query
        if not {"vnicId", "subnetId", "vlanId"} & query.keys():
            raise ApiError(400, "InvalidParameter", "One of vnicId, subnetId or vlanId is required")
        wanted = ("vnicId", "subnetId", "ipAddress")
        bodies = [record.body for record in self._inventory.private_ips.values()]
        return _page(request, [body for body in bodies if _matches(body, query, wanted)])

    async def _list_attachments(self, request: web.Request) -> web.StreamResponse:
        self._need("VNIC_ATTACHMENT_READ", "INSTANCE_INSPECT")
        if "compartmentId" not in request.query:
            raise ApiError(400, "MissingParameter", "compartmentId is required")
        wanted = ("compartmentId", "instanceId", "vnicId", "availabilityDomain")
        held = self._inventory.attachments
        return _page(request, [body for body in held if _matches(body, request.query, wanted)])


def _attachments(present: Sequence[Json], asked: Sequence[Json]) -> set[str]:
    """Return the permissions that new and removed rules need, by the kind of their targets."""
    old, new = (
        {
            (rule.get("destination") or rule.get("cidrBlock"), str(rule.get("networkEntityId")))
            for rule in rules
        }
        for rules in (present, asked)
    )
    needed = set()
    for verb, pairs in (("ATTACH", new - old), ("DETACH", old - new)):
        kinds = {target.split(".")[1] for _, target in pairs if target.count(".") > 1}
        needed |= {f"{_TARGETS[kind]}_{verb}" for kind in kinds & _TARGETS.keys()}
    return needed


def _matches(body: Json, query: Mapping[str, str], keys: Sequence[str]) -> bool:
    return all(body.get(key) == query[key] for key in keys if key in query)


def _find(collection: Mapping[str, Record], request: web.Request) -> Record:
    record = collection.get(request.match_info["id"])
    if record is None:
        raise not_found()
    return record


def _match(record: Record, request: web.Request) -> None:
    expected = request.headers.get("if-match")
    if expected not in (None, "*", record.etag):
        raise ApiError(412, "NoEtagMatch", f"Etag {expected} does not match the resource's current one")


def _answer(record: Record) -> web.Response:
    return web.json_response(record.body, headers={"etag": record.etag})


def _page(request: web.Request, items: Sequence[Json]) -> web.Response:
    """Return one page; `page` is an opaque token, here the position in base64."""
    limit = max(1, min(int(request.query.get("limit", "50")), 1000))
    try:
        start = int(base64.urlsafe_b64decode(request.query.get("page", "MA==")))
    except ValueError:
        raise ApiError(400, "InvalidParameter", "page is not a token of this list") from None
    after = start + limit
    token = base64.urlsafe_b64encode(str(after).encode()).decode()
    headers = {"opc-next-page": token} if after < len(items) else {}
    return web.json_response(list(items[start:after]), headers=headers)


async def _object(request: web.Request) -> Json:
    try:
        asked = await request.json()
    except json.JSONDecodeError:
        asked = None
    if not isinstance(asked, dict):
        raise ApiError(400, "CannotParseRequest", "Incoming request body could not be parsed")
    return asked
