"""The enrollment listener: JSON over HTTP on its own TCP port, and nothing but enrollment on it.

`enrollment_api` describes what it serves, `access` decides which requests it accepts. A client that is
too slow or sends too much is cut off.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

import attrs
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from routerd.control import enrollment_api as api
from routerd.control.access import AccessRules, Address, access_check, source_of
from routerd.control.answers import answer, errors, library_log, refusal
from routerd.control.enrollment_api import MAX_BODY
from routerd.control.listener import SLOW_SECONDS, Listener
from routerd.control.ports import (
    PREFIX,
    AdmissionDesk,
    ChallengeAsked,
    PresentedProof,
    ServedTopology,
    Source,
)
from routerd.control.rate_limit import ConnectionLimit
from routerd.control.shapes import JSON_TYPE, Route, Shape
from routerd.control.strict_json import parse
from routerd.errors import ControlError, EnrollmentRefused
from routerd.model.specs.system import ControlTLSSpec
from routerd.spi import Clock, JSONValue, Logger, Proof

__all__ = [
    "MAX_BODY",
    "AccessRules",
    "enrollment_app",
    "enrollment_for_root",
    "serve_enrollment",
    "server_tls",
]

Fields = Mapping[str, JSONValue]


def enrollment_app(
    desk: AdmissionDesk, access: AccessRules, *, clock: Clock, log: Logger, slow: float = SLOW_SECONDS
) -> web.Application:
    """Return the application; its only routes are those of enrollment."""
    app = web.Application(
        middlewares=[errors(log), access_check(access, clock=clock, log=log)],
        client_max_size=MAX_BODY,
        handler_args={"logger": library_log(log, clock=clock)},
    )
    routes = _Routes(desk, known=access.authenticates, slow=slow)
    routes.add_to(app, PREFIX, welcome=access.source_allowed)
    return app


def enrollment_for_root(desk: AdmissionDesk, *, log: Logger) -> web.Application:
    """Return the same routes, without PREFIX, for the admin socket; opening it is proof enough."""
    app = web.Application(middlewares=[errors(log)])
    _Routes(desk, known=True, slow=SLOW_SECONDS).add_to(app, "", welcome=lambda _: True)
    return app


async def serve_enrollment(
    app: web.Application,
    *,
    address: Address,
    port: int,
    tls: ssl.SSLContext | None = None,
    slow: float = SLOW_SECONDS,
    connections: Callable[[Address | None], ConnectionLimit] | None = None,
) -> Listener:
    """Serve `app` until `cleanup`; `ControlError` when the port is not available.

    `connections` returns the limit for the connections of a source.
    """
    limit = ConnectionLimit()
    listener = Listener(app, connections or (lambda _: limit), slow=slow)
    await listener.open(address, port, tls)
    return listener


def server_tls(spec: ControlTLSSpec) -> ssl.SSLContext:
    """Return the listener's TLS, 1.2 or later; `ControlError` names the file that cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # A daemon cannot type a passphrase; without this OpenSSL would wait for one.
        context.load_cert_chain(spec.cert_file, spec.key_file, password=bytes)
    except OSError as error:
        raise ControlError(f"TLS files {spec.cert_file} and {spec.key_file}: unusable; {error}") from error
    if spec.client_ca_file is not None:
        try:
            context.load_verify_locations(spec.client_ca_file)
        except OSError as error:
            raise ControlError(f"TLS file {spec.client_ca_file}: unusable; {error}") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@attrs.frozen(kw_only=True)
class _Asked:
    """A request that matches the description of its route."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, JSONValue]
    source: Source | None


Handle = Callable[[_Asked], Awaitable[Fields]]


class _Routes:
    def __init__(self, desk: AdmissionDesk, *, known: bool, slow: float) -> None:
        self._desk = desk
        self._known = known
        self._slow = slow
        self._routes: tuple[tuple[Route, Handle], ...] = (
            (api.CHALLENGE, self.challenge),
            (api.SUBMIT, self.submit),
            (api.RR_SET, self.rr_set),
            (api.TOPOLOGY, self.topology),
            (api.REVOKE, self.revoke),
        )

    def add_to(self, app: web.Application, prefix: str, *, welcome: Callable[[Address | None], bool]) -> None:
        """Serve the routes; only a `welcome` source gets `100 Continue` before its body."""

        async def expected(request: web.Request) -> None:
            if request.headers[hdrs.EXPECT].lower() == "100-continue" and welcome(source_of(request)):
                await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                request.writer.output_size = 0

        for route, handle in self._routes:
            app.router.add_route(
                route.method, prefix + route.path, self._served(route, handle), expect_handler=expected
            )

    def _served(self, route: Route, handle: Handle) -> Handler:
        async def served(request: web.Request) -> web.StreamResponse:
            if route.known and not self._known:
                # Without it every neighbour in allowCIDRs could revoke every leaf.
                return refusal(api.NOT_KNOWN, "revoking is off; set tokenFrom or clientCAFile of ControlAPI")
            path: Mapping[str, str] = request.match_info
            query: Mapping[str, str] = {}
            if route.texts:
                query = given = request.query
                if wrong := route.problem(path, {name: given.getall(name) for name in given}):
                    raise _invalid(wrong)
            body = await self._body(request, route.body) if route.body is not None else {}
            if isinstance(body, web.Response):
                return body
            asked = _Asked(path=path, query=query, body=body, source=source_of(request))
            return answer(route.answer, await handle(asked))

        return served

    async def _body(self, request: web.Request, shape: Shape) -> Mapping[str, JSONValue] | web.Response:
        if not _is_json(request.headers):
            return refusal(api.WRONG_TYPE, f"the body must be {JSON_TYPE}, not compressed")
        if (request.content_length or 0) > MAX_BODY:
            raise web.HTTPRequestEntityTooLarge(MAX_BODY, request.content_length or 0)
        try:
            # A small body is here already; a timeout for it would cost more than reading it.
            async with contextlib.nullcontext() if request.content.is_eof() else asyncio.timeout(self._slow):
                content = await request.read()
        except TimeoutError:
            return refusal(api.TOO_SLOW, f"the body did not arrive within {self._slow:g} s")
        try:
            document = parse(content)
        except ValueError as error:
            raise _invalid(f"the body is not JSON: {error}") from error
        wrong = shape.problem(document)
        if wrong or not isinstance(document, dict):
            raise _invalid(wrong)
        return document

    async def challenge(self, asked: _Asked) -> Fields:
        body = asked.body
        question = ChallengeAsked(
            policy_ref=str(body["policyRef"]),
            leaf_id=str(body["leafID"]),
            public_key=str(body.get("publicKey", "")),
        )
        found = await self._desk.challenge(question, asked.source)
        return {
            "method": found.method,
            "challenge": found.challenge,
            "expiresAt": _time(found.expires_at),
        }

    async def submit(self, asked: _Asked) -> Fields:
        done = await self._desk.submit(asked.body["claim"], asked.source, _proof(asked.body.get("proof")))
        return {
            "claimRef": done.claim_ref,
            "dynamicSource": done.claim_ref,
            "generation": 1,
            "observedAt": _time(done.observed_at),
            "expiresAt": _time(done.expires_at) if done.expires_at is not None else None,
        }

    async def rr_set(self, asked: _Asked) -> Fields:
        served = await self._topology(asked)
        return {"metadata": {"name": asked.path["name"]}, "rrSet": dict(served.rr_set)}

    async def topology(self, asked: _Asked) -> Fields:
        served = await self._topology(asked)
        return {
            "metadata": {"name": asked.path["name"]},
            "claimDigest": served.claim_digest,
            "rrSet": dict(served.rr_set),
        }

    async def _topology(self, asked: _Asked) -> ServedTopology:
        claim, digest = asked.query["claim"], asked.query.get("claimDigest", "")
        return await self._desk.topology(asked.path["name"], claim, digest=digest, source=asked.source)

    async def revoke(self, asked: _Asked) -> Fields:
        name = asked.path["name"]
        if asked.body.get("name", name) != name:
            raise _invalid(f"name must be {name}")
        done = await self._desk.revoke(name, str(asked.body.get("reason", "")), asked.source)
        return {
            "claimRef": done.claim_ref,
            "dynamicSource": done.claim_ref,
            "generation": 1,
            "observedAt": _time(done.observed_at),
            "expiresAt": _time(done.observed_at),
            "reason": done.reason,
        }


def _is_json(headers: Mapping[str, str]) -> bool:
    # A request without a type passes: earlier programs and simple tools send none.
    return (
        headers.get(hdrs.CONTENT_TYPE, JSON_TYPE).partition(";")[0].strip().lower() == JSON_TYPE
        and headers.get(hdrs.CONTENT_ENCODING, "identity").lower() == "identity"
        and headers.get(hdrs.TRANSFER_ENCODING, "chunked").lower() == "chunked"
    )


def _proof(given: JSONValue) -> PresentedProof | None:
    """Return the proof beside a claim; it is refused when it is not as `enrollment_api.PROOF` says."""
    if given is None:
        return None
    wrong = api.PROOF_SHAPE.problem(given)
    if wrong or not isinstance(given, dict):
        raise _invalid(f"proof: {wrong}")
    if unknown := sorted(given.keys() - api.PROOF_SHAPE.fields.keys()):
        raise _invalid(f"proof: unknown field {unknown[0][:40]!a}")
    value, challenge = given["value"], given.get("challenge", "")
    try:
        proof = Proof.of(value if isinstance(value, dict) else {})
    except ValueError as error:
        raise EnrollmentRefused(api.PROOF_TOO_LARGE, f"proof: {error}") from error
    return PresentedProof(method=str(given["method"]), challenge=str(challenge), proof=proof)


def _invalid(message: str) -> EnrollmentRefused:
    return EnrollmentRefused(api.REQUEST_INVALID.reason, message)


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
