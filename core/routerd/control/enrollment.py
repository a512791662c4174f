"""The enrollment listener: JSON over HTTP on its own TCP port, and nothing but enrollment on it.

The paths and shapes are those of existing SAM programs. Who may ask is checked in this order:
source address (403), rate (429), bearer token (401). Whoever is too slow or too large is cut off.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import attrs
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from routerd.control.ports import API_VERSION, PREFIX, AdmissionDesk, ServedTopology
from routerd.control.rate_limit import RateLimit
from routerd.errors import ControlError, EnrollmentRefused, ProviderError, StoreError
from routerd.model.specs.system import ControlTLSSpec
from routerd.spi import Clock, JSONValue, Logger

MAX_BODY = 1 << 20
MAX_HEADERS = 64
SLOW_SECONDS = 10.0
"""How long a client may take to send its headers, and then again its body."""

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@attrs.frozen(kw_only=True)
class Doorkeeper:
    """Who may ask: from where, with which token, and how often.

    `client_certificates` says that TLS has checked one already.
    """

    allow: tuple[Network, ...]
    limit: RateLimit
    token: str | None = attrs.field(default=None, repr=False)
    client_certificates: bool = False

    def source_allowed(self, source: Address | None) -> bool:
        """Say whether a request may come from `source`."""
        return source is not None and any(
            source.version == network.version and source in network for network in self.allow
        )

    def token_holds(self, header: str) -> bool:
        """Say whether an `Authorization` header carries the token, in constant time."""
        if self.token is None:
            return True
        scheme, _, given = header.partition(" ")
        same = hmac.compare_digest(_octets(given.strip()), _octets(self.token))
        return same and scheme.lower() == "bearer"

    @property
    def authenticates(self) -> bool:
        """Say whether the listener knows its clients at all."""
        return self.token is not None or self.client_certificates


def enrollment_app(
    desk: AdmissionDesk, doorkeeper: Doorkeeper, *, clock: Clock, log: Logger, slow: float = SLOW_SECONDS
) -> web.Application:
    """Return the application; it has no route but those of enrollment."""
    app = web.Application(middlewares=[_errors(log), _door(doorkeeper, log)], client_max_size=MAX_BODY)
    _add_routes(app, PREFIX, _Routes(desk, may_revoke=doorkeeper.authenticates, slow=slow))
    return app


def enrollment_for_root(desk: AdmissionDesk, *, log: Logger) -> web.Application:
    """Return the same routes, without PREFIX, for the admin socket: who may open it needs no other proof."""
    app = web.Application(middlewares=[_errors(log)])
    _add_routes(app, "", _Routes(desk, may_revoke=True, slow=SLOW_SECONDS))
    return app


def _add_routes(app: web.Application, prefix: str, routes: _Routes) -> None:
    app.router.add_post(f"{prefix}/sam-enrollment-claims", routes.submit)
    app.router.add_get(f"{prefix}/sam-rrsets/{{name}}", routes.rr_set)
    app.router.add_get(f"{prefix}/sam-enrollment-topologies/{{name}}", routes.topology)
    app.router.add_post(f"{prefix}/sam-enrollment-claims/{{name}}/revoke", routes.revoke)


async def serve_enrollment(
    app: web.Application,
    *,
    address: Address,
    port: int,
    tls: ssl.SSLContext | None = None,
    slow: float = SLOW_SECONDS,
) -> web.AppRunner:
    """Serve `app` and return its runner; `ControlError` when the port cannot be had."""
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        # aiohttp starts this timer with the connection: it also ends those that never finish a header.
        keepalive_timeout=slow,
        lingering_time=1.0,
        max_headers=MAX_HEADERS,
        shutdown_timeout=5.0,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, str(address), port, ssl_context=tls).start()
    except OSError as error:
        await runner.cleanup()
        raise ControlError(
            f"enrollment listener {address}:{port}: {error.strerror}; "
            "see listenAddress and port of the ControlAPI"
        ) from error
    return runner


def server_tls(spec: ControlTLSSpec) -> ssl.SSLContext:
    """Return the listener's TLS, 1.2 or later; `ControlError` names the file that cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(spec.cert_file, spec.key_file)
    except OSError as error:
        raise ControlError(
            f"TLS files {spec.cert_file} and {spec.key_file} cannot be used: {error}"
        ) from error
    if spec.client_ca_file is not None:
        try:
            context.load_verify_locations(spec.client_ca_file)
        except OSError as error:
            raise ControlError(f"TLS file {spec.client_ca_file} cannot be used: {error}") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class _Routes:
    def __init__(self, desk: AdmissionDesk, *, may_revoke: bool, slow: float) -> None:
        self._desk = desk
        self._may_revoke = may_revoke
        self._slow = slow

    async def submit(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        _expect(body, "SAMEnrollmentClaimSubmitRequest")
        done = await self._desk.submit(body.get("claim"), _source(request))
        return _answer(
            "SAMEnrollmentClaimSubmitResult",
            accepted=True,
            claimRef=done.claim_ref,
            dynamicSource=done.claim_ref,
            generation=1,
            observedAt=_time(done.observed_at),
            expiresAt=_time(done.expires_at) if done.expires_at is not None else None,
        )

    async def rr_set(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        served = await self._topology(request, name)
        return _answer("SAMRRSetGetResult", metadata={"name": name}, rrSet=dict(served.rr_set))

    async def topology(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        served = await self._topology(request, name)
        return _answer(
            "SAMEnrollmentTopologyGetResult",
            metadata={"name": name},
            claimDigest=served.claim_digest,
            rrSet=dict(served.rr_set),
        )

    async def _topology(self, request: web.Request, name: str) -> ServedTopology:
        query = request.query
        return await self._desk.topology(
            name, query.get("claim", ""), digest=query.get("claimDigest", ""), source=_source(request)
        )

    async def revoke(self, request: web.Request) -> web.Response:
        if not self._may_revoke:
            # Without it every neighbour in allowCIDRs could end every other leaf.
            return _error(
                403, "revoking needs tokenFrom or tls.clientCAFile of ControlAPI", "revoke-not-authenticated"
            )
        body = await self._body(request)
        name = request.match_info["name"]
        given, reason = body.get("name", name), body.get("reason", "")
        if given != name or not isinstance(reason, str):
            raise EnrollmentRefused("request-invalid", f"name must be {name}, and reason must be text")
        done = await self._desk.revoke(name, reason, _source(request))
        return _answer(
            "SAMEnrollmentClaimRevokeResult",
            revoked=True,
            claimRef=done.claim_ref,
            dynamicSource=done.claim_ref,
            generation=1,
            observedAt=_time(done.observed_at),
            expiresAt=_time(done.observed_at),
            reason=done.reason,
        )

    async def _body(self, request: web.Request) -> Mapping[str, JSONValue]:
        try:
            async with asyncio.timeout(self._slow):
                content = await request.read()
        except TimeoutError as error:
            raise web.HTTPRequestTimeout from error
        try:
            body = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise EnrollmentRefused("request-invalid", "the body is not JSON") from error
        if not isinstance(body, dict):
            raise EnrollmentRefused("request-invalid", "the body is not a JSON object")
        return body


def _expect(body: Mapping[str, JSONValue], kind: str) -> None:
    if body.get("apiVersion") != API_VERSION or body.get("kind") != kind:
        raise EnrollmentRefused("request-invalid", f"expected apiVersion {API_VERSION} and kind {kind}")


def _door(doorkeeper: Doorkeeper, log: Logger) -> Middleware:
    @web.middleware
    async def door(request: web.Request, handler: Handler) -> web.StreamResponse:
        source = _source(request)
        if source is None or not doorkeeper.source_allowed(source):
            log.warning("enrollment.source.refused", source=str(source))
            return web.Response(status=403, text=f"{source} is not in allowCIDRs of ControlAPI\n")
        wait = doorkeeper.limit.wait(source)
        if wait:
            log.debug("enrollment.source.limited", source=str(source))
            return _error(
                429, f"too many requests; try again in {wait} s", "rate-limited", {"Retry-After": str(wait)}
            )
        if not doorkeeper.token_holds(request.headers.get("Authorization", "")):
            log.warning("enrollment.token.refused", source=str(source))
            return _error(
                401,
                "the bearer token is missing or wrong; see controlAPITokenFrom of SAMEnrollmentClient",
                "bearer-token-required",
                {"WWW-Authenticate": 'Bearer realm="routerd-control-api"'},
            )
        return await handler(request)

    return door


def _errors(log: Logger) -> Middleware:
    complain = log.error

    @web.middleware
    async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except EnrollmentRefused as error:
            return _error(400, str(error), error.reason)
        except web.HTTPRequestEntityTooLarge:
            return _error(413, f"the body is larger than {MAX_BODY} bytes", "request-too-large")
        except web.HTTPException as error:
            allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
            return _error(error.status, f"{request.method} {request.path[:200]}: {error.reason}", "", allowed)
        except (StoreError, ProviderError) as error:
            # What is wrong with our disk or our plugin is for our log, not for a leaf.
            complain("enrollment.failed", error=str(error))
            return _error(500, "the route reflector could not decide; try again later", "internal")

    return errors


def _source(request: web.Request) -> Address | None:
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    if not isinstance(peer, tuple) or not peer:
        return None
    try:
        address = ip_address(str(peer[0]).partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _answer(kind: str, **fields: JSONValue) -> web.Response:
    return web.json_response({"apiVersion": API_VERSION, "kind": kind, **fields})


def _error(status: int, message: str, reason: str, headers: Mapping[str, str] | None = None) -> web.Response:
    error = {"message": message, "reason": reason} if reason else {"message": message}
    return web.json_response(
        {"apiVersion": API_VERSION, "kind": "Error", "error": error}, status=status, headers=headers
    )


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _octets(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
