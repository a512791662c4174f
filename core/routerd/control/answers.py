"""The answers of the enrollment listener: JSON of the described shapes, and exceptions as refusals."""

import json
import logging
from collections.abc import Mapping

from aiohttp import web
from aiohttp.http import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware

from routerd.control.enrollment_api import (
    DECIDED,
    ERROR,
    INTERNAL,
    MAX_BODY,
    METHOD_FAILED,
    NOT_FOUND,
    REQUEST_INVALID,
    TOO_LARGE,
    WRONG_METHOD,
)
from routerd.control.rate_limit import RateLimit
from routerd.control.shapes import JSON_TYPE, Refusal, Shape
from routerd.errors import EnrollmentRefused, JoinMethodFailed, ProviderError, StoreError
from routerd.spi import Clock, JSONValue, Logger

_HEADERS = {"Content-Type": f"{JSON_TYPE}; charset=utf-8"}


def answer(shape: Shape, fields: Mapping[str, JSONValue]) -> web.Response:
    """Return the answer of that shape; `fields` may leave out its constants."""
    return web.Response(body=_encoded({**shape.constants, **fields}), headers=_HEADERS)


def refusal(
    kind: Refusal, message: str, headers: Mapping[str, str] | None = None, *, reason: str = ""
) -> web.Response:
    """Return the answer of a refusal; `reason` is for a kind without a code of its own."""
    error: JSONValue = {"message": message, "reason": kind.reason or reason}
    return web.Response(
        body=_encoded({**ERROR.constants, "error": error}),
        status=kind.status,
        headers={**_HEADERS, **headers} if headers else _HEADERS,
    )


def errors(log: Logger) -> Middleware:
    """Return the middleware that answers for handlers that raise."""
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
        except JoinMethodFailed as error:
            complain("enrollment.failed", error=str(error))
            return refusal(
                METHOD_FAILED,
                "not decided: the join method of the policy failed on the route reflector; read its log, "
                "or try again later",
            )
        except (StoreError, ProviderError) as error:
            # Faults of our disk or our plugin belong in our log, not in the answer to a leaf.
            complain("enrollment.failed", error=str(error))
            return refusal(
                INTERNAL, "not decided: the route reflector has an internal fault; try again later"
            )

    return answered


def library_log(log: Logger, *, clock: Clock) -> logging.Logger:
    """Return the log of aiohttp; a stack trace for each malformed request would fill the disk."""
    found = logging.Logger("routerd.enrollment")  # noqa: LOG001 - one of its own, that nothing configures
    found.addHandler(_Complaints(log, RateLimit(clock=clock, total_rate=1 / 60, total_burst=10)))
    return found


class _Complaints(logging.Handler):
    def __init__(self, log: Logger, limit: RateLimit) -> None:
        super().__init__(logging.WARNING)
        self._log = log
        self._limit = limit

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, HttpProcessingError):
            self._log.error("enrollment.failed", error=repr(error) if error else record.msg, trace=error)
        elif not self._limit.wait_for_all():
            source = record.args[0] if isinstance(record.args, tuple) and record.args else ""
            self._log.warning("enrollment.request.malformed", source=str(source))


def _what(request: web.Request) -> str:
    return f"{request.method} {request.path[:200]}: not served here"


def _encoded(document: Mapping[str, JSONValue]) -> bytes:
    return json.dumps(document).encode()
