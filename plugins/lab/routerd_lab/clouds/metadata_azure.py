"""The metadata service of an Azure VM, and the managed identity's tokens that it hands out.

Plain HTTP; runs once per VM at 169.254.169.254, where the wire tells which VM asks. Shapes:
Microsoft Learn, "Azure Instance Metadata Service" and "How to use managed identities for Azure
resources on an Azure VM to acquire an access token".
"""

import time
from collections.abc import Callable, Mapping

from aiohttp import web
from aiohttp.typedefs import Handler

TOKEN_SECONDS = 86400


def metadata_app(
    instance: Mapping[str, object], client_id: str, issue: Callable[[str], str]
) -> web.Application:
    """Return the service for one VM; `issue` makes a token for a resource."""

    async def shown(_: web.Request) -> web.StreamResponse:
        return web.json_response(dict(instance))

    async def token(request: web.Request) -> web.StreamResponse:
        resource = request.query.get("resource", "")
        asked = request.query.get("client_id", client_id)
        if not resource or asked != client_id:
            text = "Identity not found" if resource else "Required query variable 'resource' is missing"
            return web.json_response({"error": "invalid_request", "error_description": text}, status=400)
        now = int(time.time())
        return web.json_response(
            {
                "access_token": issue(resource),
                "client_id": client_id,
                "expires_in": str(TOKEN_SECONDS),
                "expires_on": str(now + TOKEN_SECONDS),
                "ext_expires_in": str(TOKEN_SECONDS),
                "not_before": str(now),
                "resource": resource,
                "token_type": "Bearer",
            }
        )

    app = web.Application(middlewares=[_guard])
    app.router.add_get("/metadata/instance", shown)
    app.router.add_get("/metadata/identity/oauth2/token", token)
    return app


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse the requests of a tricked web application, and a request without a version."""
    if request.headers.get("Metadata", "").lower() != "true" or "X-Forwarded-For" in request.headers:
        return web.json_response({"error": "Bad request. Required metadata header not specified"}, status=400)
    if "api-version" not in request.query:
        return web.json_response(
            {
                "error": "Bad request. api-version was not specified in the request",
                "newest-versions": ["2021-02-01"],
            },
            status=400,
        )
    return await handler(request)
