"""An emulated region of Oracle Cloud Infrastructure: networking, VNIC attachments, and the auth service.

Paths, bodies, headers and error codes are those of the Core Services API (20160918) and of what
the official SDK sends; every request's signature is verified. What the API holds is what the
site's fabric enforces. Not emulated: compartments, policies (use `fail_next`), work requests.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, ip_network
from typing import Any

import attrs
from aiohttp import web
from aiohttp.typedefs import Handler
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from routerd_lab.clouds.metadata_oci import Issuer, Metadata

BASE = "/20160918"
REALM = "oc1"
DOMAIN = "oraclecloud.com"
MAX_RULES = 200
_TOKEN_SECONDS = 1200
_SKEW_SECONDS = 300
_SIGNATURE = re.compile(r'(\w+)="([^"]*)"')


def ocid(kind: str, name: str, region: str = "") -> str:
    """Return a stable OCID of the real length for a name."""
    unique = base64.b32encode(hashlib.sha256(f"{kind}/{name}".encode()).digest()).decode().lower().rstrip("=")
    return f"ocid1.{kind}.{REALM}.{region}.aaaaaaaa{unique}"


class ApiError(Exception):
    """An answer of the API with an error status and its `code`."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})
        super().__init__(f"{status} {code}: {message}")


@attrs.define
class Record:
    """A resource: its JSON and the version that its ETag names."""

    body: dict[str, Any]
    etag: str = attrs.field(factory=lambda: secrets.token_hex(16))

    def touch(self) -> None:
        """Give the resource a new ETag."""
        self.etag = secrets.token_hex(16)


@attrs.define
class Fault:
    """Answers that an operation gives instead of doing its work."""

    status: int
    code: str
    times: int
    retry_after: int | None = None


@attrs.frozen(kw_only=True)
class Instance:
    """A machine to be put into the network, with one VNIC."""

    name: str
    address: IPv4Address
    mac: str = "02:00:17:00:00:01"


class OciRegion:
    """One VCN with one subnet and its instances. `on_change` is called after every write."""

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
        self.on_change = on_change
        self.tenancy = ocid("tenancy", "lab")
        self.compartment = ocid("compartment", "lab")
        self.vcn = ocid("vcn", "lab", region)
        self.subnet = ocid("subnet", "lab", region)
        self.route_table = ocid("routetable", "lab", region)
        self.internet_gateway = ocid("internetgateway", "lab", region)
        self.network = network
        self.issuer = Issuer()
        self.calls: list[str] = []
        self.keys: dict[str, rsa.RSAPublicKey] = {}
        self.vnics: dict[str, Record] = {}
        self.private_ips: dict[str, Record] = {}
        self.attachments: list[dict[str, Any]] = []
        self._countdown = 0
        self._faults: dict[str, list[Fault]] = {}
        self._token_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        common = {"compartmentId": self.compartment, "definedTags": {}, "freeformTags": {}}
        created = {"timeCreated": "2026-01-01T00:00:00.000Z", "lifecycleState": "AVAILABLE"}
        self.vcns = {
            self.vcn: Record(
                {"id": self.vcn, "cidrBlock": str(network), "cidrBlocks": [str(network)], **common, **created}
                | {"displayName": "lab", "defaultRouteTableId": self.route_table}
            )
        }
        self.subnets = {
            self.subnet: Record(
                {"id": self.subnet, "cidrBlock": str(subnet), "vcnId": self.vcn, **common, **created}
                | {"displayName": "lab", "routeTableId": self.route_table}
                | {"virtualRouterIp": str(subnet[1]), "virtualRouterMac": "00:00:17:00:00:00"}
            )
        }
        default = {
            "destination": "0.0.0.0/0",
            "destinationType": "CIDR_BLOCK",
            "networkEntityId": self.internet_gateway,
            "routeType": "STATIC",
            "description": None,
            "cidrBlock": None,
        }
        self.route_tables = {
            self.route_table: Record(
                {"id": self.route_table, "vcnId": self.vcn, "routeRules": [default], **common, **created}
                | {"displayName": "Default Route Table for lab"}
            )
        }
        for instance in instances:
            self._add(instance, common, created)

    def _add(self, instance: Instance, common: Mapping[str, Any], created: Mapping[str, Any]) -> None:
        vnic, machine = ocid("vnic", instance.name, self.region), ocid("instance", instance.name, self.region)
        address = ocid("privateip", instance.name, self.region)
        self.vnics[vnic] = Record(
            {"id": vnic, "displayName": instance.name, "isPrimary": True, **common, **created}
            | {"privateIp": str(instance.address), "skipSourceDestCheck": False, "subnetId": self.subnet}
            | {"macAddress": instance.mac.upper(), "nsgIds": [], "availabilityDomain": "lab:AD-1"}
        )
        self.private_ips[address] = Record(
            {"id": address, "displayName": instance.name, "isPrimary": True, **common}
            | {"ipAddress": str(instance.address), "subnetId": self.subnet, "vnicId": vnic}
            | {"timeCreated": created["timeCreated"], "availabilityDomain": "lab:AD-1"}
        )
        self.attachments.append(
            {"id": ocid("vnicattachment", instance.name, self.region), "instanceId": machine, **created}
            | {"compartmentId": self.compartment, "subnetId": self.subnet, "vnicId": vnic}
            | {"lifecycleState": "ATTACHED", "nicIndex": 0, "vlanTag": 1, "displayName": None}
            | {"availabilityDomain": "lab:AD-1"}
        )

    # --- what the lab asks and does ------------------------------------------------------------

    @property
    def hostnames(self) -> tuple[str, ...]:
        """Return the names under which this region's services must be reachable on port 443."""
        return tuple(f"{service}.{self.region}.{DOMAIN}" for service in ("iaas", "auth"))

    def fail_next(
        self, operation: str, *, status: int, code: str, times: int = 1, retry_after: int | None = None
    ) -> None:
        """Let the next calls of an operation (`UpdateVnic`) fail; `*` means any operation."""
        self._faults.setdefault(operation, []).append(Fault(status, code, times, retry_after))

    def fail_call(self, nth: int, *, status: int, code: str) -> None:
        """Let the nth call from now fail, whatever its operation."""
        self._countdown = nth
        self._faults.setdefault("", []).append(Fault(status, code, 1))

    def forwarding(self, name: str) -> bool:
        """Say whether an instance's VNIC skips the source/destination check."""
        return bool(self.vnics[ocid("vnic", name, self.region)].body["skipSourceDestCheck"])

    def routes(self) -> dict[IPv4Network, IPv4Address | None]:
        """Return the IPv4 routes of the table: to an address in the VCN, or to the internet (none)."""
        found: dict[IPv4Network, IPv4Address | None] = {}
        for rule in self.route_tables[self.route_table].body["routeRules"]:
            prefix = _prefix(rule)
            target = self.private_ips.get(rule["networkEntityId"])
            if prefix is not None:
                found[prefix] = IPv4Address(target.body["ipAddress"]) if target else None
        return found

    def metadata(self, name: str) -> Metadata:
        """Return what the metadata service says to an instance, with fresh credentials."""
        vnic = self.vnics[ocid("vnic", name, self.region)].body
        machine = ocid("instance", name, self.region)
        subnet = self.subnets[vnic["subnetId"]].body
        return Metadata(
            instance={
                "availabilityDomain": "lab:AD-1",
                "faultDomain": "FAULT-DOMAIN-1",
                "compartmentId": self.compartment,
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
                instance=machine, compartment=self.compartment, tenancy=self.tenancy
            ),
        )

    def app(self) -> web.Application:
        """Return the services; they tell each other's requests apart by path."""
        app = web.Application(middlewares=[self._envelope])
        app.router.add_post("/v1/x509", self._federate)
        for path, collection in (
            ("vnics", self.vnics),
            ("privateIps", self.private_ips),
            ("subnets", self.subnets),
            ("vcns", self.vcns),
            ("routeTables", self.route_tables),
        ):
            name = {"vnics": "GetVnic", "privateIps": "GetPrivateIp", "subnets": "GetSubnet"}.get(path)
            name = name or {"vcns": "GetVcn", "routeTables": "GetRouteTable"}[path]
            app.router.add_get(f"{BASE}/{path}/{{id}}", self._get(collection), name=name)
        app.router.add_put(f"{BASE}/vnics/{{id}}", self._update_vnic, name="UpdateVnic")
        app.router.add_put(f"{BASE}/routeTables/{{id}}", self._update_route_table, name="UpdateRouteTable")
        app.router.add_get(f"{BASE}/privateIps", self._list_private_ips, name="ListPrivateIps")
        app.router.add_get(f"{BASE}/vnicAttachments", self._list_attachments, name="ListVnicAttachments")
        return app

    # --- around every request ---------------------------------------------------------------------

    @web.middleware
    async def _envelope(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        route = request.match_info.route
        operation = route.name or "X509"
        asked = request.headers.get("opc-request-id", secrets.token_hex(16).upper())
        trace = f"{asked}/{secrets.token_hex(16).upper()}/{secrets.token_hex(16).upper()}"
        try:
            if route.name:
                await self._authenticate(request)
            self._fault(operation)
            response = await handler(request)
            self.calls.append(operation)
        except ApiError as error:
            self.calls.append(f"{operation}:{error.status}")
            response = web.json_response(
                {"code": error.code, "message": error.message}, status=error.status, headers=error.headers
            )
        except web.HTTPException as error:
            response = web.json_response(
                {"code": "NotAuthorizedOrNotFound", "message": error.reason}, status=error.status
            )
        response.headers["opc-request-id"] = trace
        return response

    def _fault(self, operation: str) -> None:
        self._countdown -= 1
        keys = (operation, "*", "") if self._countdown == 0 else (operation, "*")
        for key in keys:
            for fault in self._faults.get(key, []):
                if fault.times > 0:
                    fault.times -= 1
                    headers = {} if fault.retry_after is None else {"retry-after": str(fault.retry_after)}
                    raise ApiError(fault.status, fault.code, f"{operation} was told to fail", headers)

    async def _authenticate(self, request: web.Request) -> None:
        """Verify the signature (OCI "Request Signatures", draft-cavage-http-signatures-08)."""
        kind, _, rest = request.headers.get("Authorization", "").partition(" ")
        fields = dict(_SIGNATURE.findall(rest))
        if kind != "Signature" or not {"keyId", "headers", "signature"} <= fields.keys():
            raise ApiError(
                401,
                "NotAuthenticated",
                "The required information to complete authentication was not provided.",
            )
        key = self._key_of(fields["keyId"])
        signed = fields["headers"].split()
        required = {"date", "(request-target)", "host"}
        if request.method in ("PUT", "POST"):
            required |= {"content-length", "content-type", "x-content-sha256"}
        missing = required - set(signed)
        body = await request.read()
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        stale = "date" in signed and _age(request.headers.get("date", "")) > _SKEW_SECONDS
        if (
            missing
            or stale
            or ("x-content-sha256" in signed and request.headers["x-content-sha256"] != digest)
        ):
            raise ApiError(
                401,
                "NotAuthenticated",
                "The required information to complete authentication was not provided or was incorrect.",
            )
        lines = [
            f"(request-target): {request.method.lower()} {request.raw_path}"
            if name == "(request-target)"
            else f"{name}: {request.headers.get(name, '')}"
            for name in signed
        ]
        try:
            key.verify(
                base64.b64decode(fields["signature"]),
                "\n".join(lines).encode(),
                padding.PKCS1v15(),
                hashes.SHA256(),
            )
        except InvalidSignature:
            raise ApiError(401, "NotAuthenticated", "Failed to verify the HTTP(S) Signature") from None

    def _key_of(self, key_id: str) -> rsa.RSAPublicKey:
        """Return the key behind a key id: a session token's (`ST$...`), or an API key's."""
        if key_id in self.keys:
            return self.keys[key_id]
        if key_id.startswith("ST$"):
            head, _, signature = key_id[3:].rpartition(".")
            try:
                self._token_key.public_key().verify(
                    _unbase64(signature), head.encode(), padding.PKCS1v15(), hashes.SHA256()
                )
                claims = json.loads(_unbase64(head.split(".")[1]))
                jwk = json.loads(claims["jwk"])
                if claims["exp"] > time.time():
                    return rsa.RSAPublicNumbers(e=_integer(jwk["e"]), n=_integer(jwk["n"])).public_key()
            except (InvalidSignature, ValueError, KeyError, IndexError) as error:
                raise ApiError(401, "NotAuthenticated", "The security token is not ours.") from error
        raise ApiError(401, "NotAuthenticated", "The security token or key is unknown or has expired.")

    async def _federate(self, request: web.Request) -> web.StreamResponse:
        """Give a session token to who holds an instance's certificate (`POST /v1/x509`)."""
        asked = json.loads(await request.read())
        try:
            leaf = x509.load_der_x509_certificate(base64.b64decode(asked["certificate"]))
            leaf.verify_directly_issued_by(self.issuer.certificate)
            loaded = serialization.load_der_public_key(base64.b64decode(asked["publicKey"]))
        except (InvalidSignature, ValueError, KeyError, TypeError):
            raise ApiError(401, "NotAuthenticated", "Certificate is not trusted") from None
        fingerprint = ":".join(f"{octet:02X}" for octet in leaf.fingerprint(hashes.SHA1()))  # noqa: S303 - as the SDK
        public = leaf.public_key()
        if not isinstance(public, rsa.RSAPublicKey) or not isinstance(loaded, rsa.RSAPublicKey):
            raise ApiError(401, "NotAuthenticated", "Only RSA keys are supported")
        kind, _, rest = request.headers.get("Authorization", "").partition(" ")
        fields = dict(_SIGNATURE.findall(rest))
        if kind != "Signature" or fields.get("keyId") != f"{self.tenancy}/fed-x509/{fingerprint}":
            raise ApiError(401, "NotAuthenticated", "The key id does not match the certificate")
        now = int(time.time())
        numbers = loaded.public_numbers()
        jwk = {
            "kty": "RSA",
            "n": _base64(_octets(numbers.n)),
            "e": _base64(_octets(numbers.e)),
            "alg": "RS256",
        }
        claims: dict[str, object] = {
            "sub": "instance",
            "opc-tenant": self.tenancy,
            "jwk": json.dumps(jwk),
            "ptype": "instance",
        }
        claims["iss"] = "authService.oracle.com"
        claims["iat"], claims["exp"] = now, now + _TOKEN_SECONDS
        return web.json_response({"token": self._token(claims)})

    def _token(self, claims: Mapping[str, object]) -> str:
        header = {"kid": "asw", "alg": "RS256"}
        head = ".".join(_base64(json.dumps(part).encode()) for part in (header, claims))
        signature = self._token_key.sign(head.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{head}.{_base64(signature)}"

    # --- operations ---------------------------------------------------------------------------------

    @staticmethod
    def _get(collection: Mapping[str, Record]) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            return _answer(_find(collection, request))

        return handle

    async def _update_vnic(self, request: web.Request) -> web.StreamResponse:
        record = _find(self.vnics, request)
        _match(record, request)
        asked = await _object(request)
        known = {
            "skipSourceDestCheck",
            "displayName",
            "hostnameLabel",
            "nsgIds",
            "definedTags",
            "freeformTags",
        }
        if unknown := asked.keys() - known:
            raise ApiError(400, "InvalidParameter", f"Unrecognized field {min(unknown)}")
        if not isinstance(asked.get("skipSourceDestCheck", False), bool):
            raise ApiError(400, "InvalidParameter", "skipSourceDestCheck must be a boolean")
        record.body |= asked
        record.touch()
        self.on_change()
        return _answer(record)

    async def _update_route_table(self, request: web.Request) -> web.StreamResponse:
        record = _find(self.route_tables, request)
        _match(record, request)
        asked = await _object(request)
        rules = asked.get("routeRules", record.body["routeRules"])
        if not isinstance(rules, list):
            raise ApiError(400, "InvalidParameter", "routeRules must be a list")
        if len(rules) > MAX_RULES:
            raise ApiError(400, "LimitExceeded", f"route table cannot have more than {MAX_RULES} rules")
        seen: set[object] = set()
        for rule in rules:
            self._check(rule)
            destination = rule.get("destination") or rule.get("cidrBlock")
            if destination in seen:
                raise ApiError(400, "InvalidParameter", f"Duplicate rule for destination {destination}")
            seen.add(destination)
        kept = ("displayName", "definedTags", "freeformTags")
        record.body |= {key: asked[key] for key in kept if key in asked}
        defaults = {
            "destinationType": "CIDR_BLOCK",
            "routeType": "STATIC",
            "description": None,
            "cidrBlock": None,
        }
        record.body["routeRules"] = [defaults | rule for rule in rules]
        record.touch()
        self.on_change()
        return _answer(record)

    def _check(self, rule: object) -> None:
        """Refuse what the API refuses of a single rule."""
        if not isinstance(rule, dict) or not isinstance(rule.get("networkEntityId"), str):
            raise ApiError(400, "InvalidParameter", "networkEntityId is required in every route rule")
        entity, prefix = rule["networkEntityId"], _prefix(rule)
        if entity.startswith("ocid1.privateip.") and entity not in self.private_ips:
            raise ApiError(404, "NotAuthorizedOrNotFound", f"Private IP {entity} not found")
        if rule.get("destinationType", "CIDR_BLOCK") == "CIDR_BLOCK" and prefix is None:
            text = rule.get("destination") or rule.get("cidrBlock")
            raise ApiError(400, "InvalidParameter", f"destination {text} is not a valid CIDR block")
        if prefix is not None and prefix.prefixlen == 32 and prefix.subnet_of(self.network):
            raise ApiError(400, "InvalidParameter", f"{prefix} is more specific than a subnet of the VCN")

    async def _list_private_ips(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        if not {"vnicId", "subnetId", "vlanId"} & query.keys():
            raise ApiError(400, "InvalidParameter", "One of vnicId, subnetId or vlanId is required")
        found = [
            record.body
            for record in self.private_ips.values()
            if all(
                record.body.get(key) == query[key]
                for key in ("vnicId", "subnetId", "ipAddress")
                if key in query
            )
        ]
        return _page(request, found)

    async def _list_attachments(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        if "compartmentId" not in query:
            raise ApiError(400, "MissingParameter", "compartmentId is required")
        wanted = ("compartmentId", "instanceId", "vnicId", "availabilityDomain")
        found = [
            each
            for each in self.attachments
            if all(each[key] == query[key] for key in wanted if key in query)
        ]
        return _page(request, found)


def _find(collection: Mapping[str, Record], request: web.Request) -> Record:
    record = collection.get(request.match_info["id"])
    if record is None:
        raise ApiError(
            404, "NotAuthorizedOrNotFound", "Authorization failed or requested resource not found."
        )
    return record


def _match(record: Record, request: web.Request) -> None:
    expected = request.headers.get("if-match")
    if expected not in (None, "*", record.etag):
        raise ApiError(412, "NoEtagMatch", f"Etag {expected} does not match the resource's current one")


def _answer(record: Record) -> web.Response:
    return web.json_response(record.body, headers={"etag": record.etag})


def _page(request: web.Request, items: Sequence[Mapping[str, Any]]) -> web.Response:
    """Return one page; `page` is an opaque token, here the position in base64."""
    limit = max(1, min(int(request.query.get("limit", "50")), 1000))
    try:
        start = int(base64.urlsafe_b64decode(request.query.get("page", "MA==")))
    except ValueError:
        raise ApiError(400, "InvalidParameter", "page is not a token of this list") from None
    after = start + limit
    headers = (
        {"opc-next-page": base64.urlsafe_b64encode(str(after).encode()).decode()}
        if after < len(items)
        else {}
    )
    return web.json_response(list(items[start:after]), headers=headers)


async def _object(request: web.Request) -> dict[str, Any]:
    try:
        asked = await request.json()
    except ValueError:
        asked = None
    if not isinstance(asked, dict):
        raise ApiError(400, "CannotParseRequest", "Incoming request body could not be parsed")
    return asked


def _prefix(rule: Mapping[str, Any]) -> IPv4Network | None:
    try:
        network = ip_network(rule.get("destination") or rule.get("cidrBlock") or "")
    except ValueError:
        return None
    return network if isinstance(network, IPv4Network) else None


def _age(date: str) -> float:
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - keeps the name next to its one use

    try:
        return abs(time.time() - parsedate_to_datetime(date).timestamp())
    except ValueError:
        return float("inf")


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _octets(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _integer(text: str) -> int:
    return int.from_bytes(_unbase64(text), "big")
