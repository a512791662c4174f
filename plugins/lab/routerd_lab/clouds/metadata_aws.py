"""The metadata service of an EC2 instance, version 2 (session tokens are required).

Plain HTTP; runs once per instance at 169.254.169.254, where the wire tells which instance asks.
Paths and headers: Amazon EC2 User Guide, "Instance metadata categories" and "Use the Instance
Metadata Service"; version 1 is off, as in `HttpTokens=required`.
"""

import datetime as dt
import secrets
import time
from collections.abc import Callable, Mapping

import attrs
from aiohttp import web
from aiohttp.typedefs import Handler

_LONGEST_SECONDS = 21600
_ROLE = "routerd"


@attrs.frozen(kw_only=True)
class Credentials:
    """Temporary credentials of the instance's role."""

    access_key: str
    secret_key: str = attrs.field(repr=False)
    token: str = attrs.field(repr=False)
    expires: dt.datetime


class _Sessions:
    def __init__(self) -> None:
        self._tokens: dict[str, float] = {}

    async def open(self, request: web.Request) -> web.StreamResponse:
        """Hand out a session token (`PUT /latest/api/token`)."""
        text = request.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if not text.isdigit() or not 1 <= int(text) <= _LONGEST_SECONDS:
            raise web.HTTPBadRequest
        # A forwarded request comes from a proxy that an attacker tricked.
        if "X-Forwarded-For" in request.headers:
            raise web.HTTPForbidden
        token = secrets.token_urlsafe(40)
        self._tokens[token] = time.monotonic() + int(text)
        return web.Response(text=token, headers={"X-aws-ec2-metadata-token-ttl-seconds": text})

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse a read without a valid session token."""
        token = request.headers.get("X-aws-ec2-metadata-token", "")
        if request.method != "PUT" and self._tokens.get(token, 0.0) < time.monotonic():
            raise web.HTTPUnauthorized
        return await handler(request)


def metadata_app(
    document: Mapping[str, object], tree: Mapping[str, str], issue: Callable[[], Credentials]
) -> web.Application:
    """Return the service for one instance; `issue` makes new credentials."""
    sessions = _Sessions()

    async def identity(_: web.Request) -> web.StreamResponse:
        return web.json_response(dict(document), content_type="text/plain")

    async def roles(_: web.Request) -> web.StreamResponse:
        return web.Response(text=_ROLE)

    async def credentials(_: web.Request) -> web.StreamResponse:
        made = issue()
        now = dt.datetime.now(dt.UTC)
        return web.json_response(
            {
                "Code": "Success",
                "LastUpdated": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "Type": "AWS-HMAC",
                "AccessKeyId": made.access_key,
                "SecretAccessKey": made.secret_key,
                "Token": made.token,
                "Expiration": made.expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
            },
            content_type="text/plain",
        )

    async def leaf(request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        if path.rstrip("/") in tree:
            return web.Response(text=tree[path.rstrip("/")])
        below = path if not path or path.endswith("/") else f"{path}/"
        names = {
            head + slash
            for key in tree
            if key.startswith(below)
            for head, slash, _ in [key[len(below) :].partition("/")]
        }
        if not names:
            raise web.HTTPNotFound
        return web.Response(text="\n".join(sorted(names)))

    app = web.Application(middlewares=[sessions.guard])
    app.router.add_put("/latest/api/token", sessions.open)
    app.router.add_get("/latest/dynamic/instance-identity/document", identity)
    app.router.add_get("/latest/meta-data/iam/security-credentials/", roles)
    app.router.add_get(f"/latest/meta-data/iam/security-credentials/{_ROLE}", credentials)
    app.router.add_get("/latest/meta-data/{path:.*}", leaf)
    return app
