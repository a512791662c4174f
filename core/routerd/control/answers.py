"""The enrollment listener's answers: JSON of the described shapes, and what becomes of an exception."""

from __future__ import annotations

import json
from collections.abc import Mapping

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from routerd.control.enrollment_api import (
    DECIDED,
    ERROR,
    INTERNAL,
    MAX_BODY,
    NOT_FOUND,
    REQUEST_INVALID,
    TOO_LARGE,
    WRONG_METHOD,
)
from routerd.control.openapi import Refusal, Shape
from routerd.errors import EnrollmentRefused, ProviderError, StoreError
from routerd.spi import JSONValue, Logger

# A name of our own: nobody needs to know the versions of the library and of Python.
_HEADERS = {"Content-Type": "application/json; charset=utf-8", "Server": "routerd"}


def answer(shape: Shape, fields: Mapping[str, JSONValue]) -> web.Response:
    """Return the answer of that shape; what is constant in it needs not be given."""
    return web.Response(body=_encoded({**shape.constants, **fields}), headers=_HEADERS)


def refusal(
    kind: Refusal, message: str, headers: Mapping[str, str] | None = None, *, reason: str = ""
) -> web.Response:
    """Return the answer of a refusal; `reason` is for those that come without a code."""
    error: JSONValue = {"message": message, "reason": kind.reason or reason}
    return web.Response(
        body=_encoded({**ERROR.constants, "error": error}),
        status=kind.status,
        headers={**_HEADERS, **headers} if headers else _HEADERS,
    )


def errors(log: Logger) -> Middleware:
    """Return what answers for handlers that raise."""
    complain = log.error

    @web.middleware
    async def answered(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except EnrollmentRefused as error:
            kind = REQUEST_INVALID if error.reason == REQUEST_INVALID.reason else DECIDED
            return refusal(kind, str(error), reason=error.reason)
        except web.HTTPRequestEntityTooLarge:
            return refusal(TOO_LARGE, f"the body is larger than {MAX_BODY} bytes")
        except web.HTTPMethodNotAllowed as error:
            return refusal(WRONG_METHOD, _what(request), {"Allow": ", ".join(sorted(error.allowed_methods))})
        except web.HTTPNotFound:
            return refusal(NOT_FOUND, _what(request))
        except (StoreError, ProviderError) as error:
            # What is wrong with our disk or our plugin is for our log, not for a leaf.
            complain("enrollment.failed", error=str(error))
            return refusal(INTERNAL, "the route reflector could not decide; try again later")

    return answered


def _what(request: web.Request) -> str:
    return f"{request.method} {request.path[:200]}: this is not served here"


def _encoded(document: Mapping[str, JSONValue]) -> bytes:
    return json.dumps(document).encode()
