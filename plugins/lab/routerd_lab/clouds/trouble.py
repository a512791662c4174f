"""Scripted trouble for emulated clouds, and a record of the calls that they answered.

An emulator says in a `Dialect` how its API names its operations and words its errors, and puts
`Troubles.middleware` first into its application. A test then scripts the trouble: in the same
process by `add`, `lag` and `clear`, or from another one by HTTP, without credentials:

    POST   /-/trouble   {"kind": "lose", "operation": "UpdateRouteTable", "skip": 1, "times": 2}
    GET    /-/trouble   the troubles that are pending
    DELETE /-/trouble   end all trouble; answers are fresh again
    PUT    /-/lag       {"reads": 2} or {"seconds": 1.5}: eventual consistency
    GET    /-/calls     {"total": 3, "operations": {"UpdateRouteTable": 2, ...}, "calls": [...]}
    DELETE /-/calls     count from zero
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

import attrs
import cattrs
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from cattrs.errors import BaseValidationError
from multidict import CIMultiDict

from routerd_lab.clouds.state import Failure

ANY = "*"


class Kind(StrEnum):
    """The effect on a call."""

    THROTTLE = "throttle"
    """The API refuses the call as too frequent and does nothing."""
    FAIL = "fail"
    """The API answers with an error and does nothing."""
    FAIL_AFTER = "fail-after"
    """The API does the work and answers with an error all the same."""
    CLOSE = "close"
    """The API closes the connection and does nothing."""
    LOSE = "lose"
    """The API does the work and closes the connection without an answer."""
    SLOW = "slow"
    """The API does the work and answers after `seconds`."""


@attrs.frozen(kw_only=True)
class Trouble:
    """One kind of trouble for one operation, by the API's own name; `*` is every operation.

    The first `skip` calls go well, then every `every`th has trouble, `times` in all (None: without end).
    `failure` replaces the answer of the dialect.
    """

    kind: Kind
    operation: str = ANY
    skip: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    every: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    times: int | None = 1
    seconds: float = 0.0
    failure: Failure | None = None


@attrs.frozen(kw_only=True)
class Lag:
    """Eventual consistency: after a write a repeated read returns its earlier answer.

    It lasts for `reads` reads of each URL or for `seconds`, whichever is longer; both are 0 when it is off.
    """

    reads: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    seconds: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    operation: str = ANY


@attrs.frozen(kw_only=True)
class Call:
    """A received call: the status of its answer, whether that was sent or lost, and its trouble.

    `status` is 0 if the API did nothing and answered nothing.
    """

    operation: str
    status: int
    trouble: Kind | None = None
    stale: bool = False


_CONTROL = "/-/"
_CONVERTER = cattrs.Converter(forbid_extra_keys=True)
_DONE = frozenset({Kind.FAIL_AFTER, Kind.LOSE, Kind.SLOW})
_Told = TypeVar("_Told")


@attrs.frozen(kw_only=True)
class Dialect:
    """The names and errors of an API. `operation` gets the request and its body; `reads` names the reads."""

    operation: Callable[[web.Request, bytes], str]
    reads: Callable[[str], bool]
    answer: Callable[[Failure], web.Response]
    throttled: Failure
    broken: Failure

    def failure(self, trouble: Trouble) -> Failure:
        """Return the answer to a trouble."""
        if trouble.failure is not None:
            return trouble.failure
        return self.throttled if trouble.kind is Kind.THROTTLE else self.broken


@attrs.define
class _Planned:
    """A trouble and its progress."""

    trouble: Trouble
    seen: int = 0
    struck: int = 0

    @property
    def over(self) -> bool:
        return self.trouble.times is not None and self.struck >= self.trouble.times

    def strikes(self, operation: str) -> bool:
        """Count a call, and say whether it has this trouble."""
        if self.over or self.trouble.operation not in (ANY, operation):
            return False
        self.seen += 1
        late = self.seen - self.trouble.skip
        if late < 1 or late % self.trouble.every:
            return False
        self.struck += 1
        return True


@attrs.define
class _Remembered:
    """An earlier answer of a URL; `since` is the time of the first write after it."""

    status: int
    reason: str
    headers: CIMultiDict[str]
    body: bytes
    since: float | None = None
    served: int = 0

    def again(self) -> web.Response:
        return web.Response(
            status=self.status, reason=self.reason, headers=self.headers.copy(), body=self.body
        )


class Troubles:
    """The troubles of one emulator and its calls, oldest first.

    Troubles strike in the order in which they were added. A call that one of them strikes does not count
    for the later ones, so troubles that were added one after the other happen one after the other.
    """

    def __init__(self, dialect: Dialect, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.record: list[Call] = []
        self._dialect = dialect
        self._clock = clock
        self._planned: list[_Planned] = []
        self._lag = Lag()
        self._answers: dict[tuple[str, str, bytes], _Remembered] = {}

    # --- for tests --------------------------------------------------------------------------------

    def add(self, *troubles: Trouble) -> None:
        """Give calls trouble from now on."""
        self._planned.extend(_Planned(trouble) for trouble in troubles)

    def fail_next(
        self, operation: str, *, status: int, code: str, times: int = 1, retry_after: int | None = None
    ) -> None:
        """Answer the next calls of an operation with an error instead of doing their work."""
        failure = Failure(status=status, code=code, retry_after=retry_after)
        self.add(Trouble(kind=Kind.FAIL, operation=operation, times=times, failure=failure))

    def fail_call(self, nth: int, *, status: int, code: str) -> None:
        """Fail the nth call from now, whatever its operation."""
        self.add(Trouble(kind=Kind.FAIL, skip=nth - 1, failure=Failure(status=status, code=code)))

    def lag(self, lag: Lag) -> None:
        """Answer reads after a write with the state before it."""
        self._lag = lag

    def clear(self) -> None:
        """End all trouble and lag; the calls stay recorded."""
        self._planned.clear()
        self._lag = Lag()

    @property
    def calls(self) -> list[str]:
        """Return the operations that were called, oldest first."""
        return [call.operation for call in self.record]

    def count(self, operation: str, status: int | None = None) -> int:
        """Return the number of calls of an operation, or of those answered with a status."""
        return sum(call.operation == operation and status in (None, call.status) for call in self.record)

    @property
    def pending(self) -> tuple[Trouble, ...]:
        """Return the troubles that are not over."""
        return tuple(each.trouble for each in self._planned if not each.over)

    # --- around every request ---------------------------------------------------------------------

    @property
    def middleware(self) -> Middleware:
        """Return the middleware that an application puts first."""

        @web.middleware
        async def handle(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.path.startswith(_CONTROL):
                return await self._control(request)
            return await self._call(request, handler)

        return handle

    async def _call(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        body = await request.read()
        operation = self._dialect.operation(request, body)
        trouble = next((each.trouble for each in self._planned if each.strikes(operation)), None)
        kind = None if trouble is None else trouble.kind
        if trouble is not None and trouble.kind not in _DONE:
            if trouble.kind is Kind.CLOSE:
                self.record.append(Call(operation=operation, status=0, trouble=kind))
                return _hung_up(request)
            failure = self._dialect.failure(trouble)
            self.record.append(Call(operation=operation, status=failure.status, trouble=kind))
            return self._dialect.answer(failure)
        answer, stale = await self._answer(request, handler, operation, body)
        status = answer.status
        if trouble is not None and trouble.kind is Kind.FAIL_AFTER:
            answer = self._dialect.answer(self._dialect.failure(trouble))
        self.record.append(Call(operation=operation, status=status, trouble=kind, stale=stale))
        if trouble is not None and trouble.kind is Kind.LOSE:
            return _hung_up(request)
        if trouble is not None and trouble.kind is Kind.SLOW:
            await asyncio.sleep(trouble.seconds)
        return answer

    async def _answer(
        self, request: web.Request, handler: Handler, operation: str, body: bytes
    ) -> tuple[web.StreamResponse, bool]:
        """Return the handler's answer, or its answer before the last write."""
        reads = self._dialect.reads(operation)
        key = (request.method, request.path_qs, body)
        if reads and (known := self._answers.get(key)) is not None and self._lags(operation, known):
            known.served += 1
            return known.again(), True
        try:
            answer = await handler(request)
        except web.HTTPException as error:
            answer = web.Response(
                status=error.status, reason=error.reason, headers=error.headers.copy(), body=error.body
            )
        if reads and isinstance(answer, web.Response) and isinstance(answer.body, bytes):
            headers = CIMultiDict(answer.headers)
            self._answers[key] = _Remembered(answer.status, answer.reason, headers, answer.body)
        elif not reads and answer.status < 400:
            for known in self._answers.values():
                known.since = self._clock() if known.since is None else known.since
        return answer, False

    def _lags(self, operation: str, known: _Remembered) -> bool:
        if known.since is None or self._lag.operation not in (ANY, operation):
            return False
        return known.served < self._lag.reads or self._clock() - known.since < self._lag.seconds

    # --- over HTTP --------------------------------------------------------------------------------

    async def _control(self, request: web.Request) -> web.StreamResponse:
        match request.method, request.path.removeprefix(_CONTROL):
            case "POST", "trouble":
                return await self._told(request, Trouble, self.add)
            case "PUT", "lag":
                return await self._told(request, Lag, self.lag)
            case "DELETE", "trouble":
                self.clear()
                return web.Response(status=204)
            case "DELETE", "calls":
                self.record.clear()
                return web.Response(status=204)
            case "GET", "trouble":
                return web.json_response({"pending": cattrs.unstructure(self.pending)})
            case "GET", "calls":
                counts = Counter(self.calls)
                calls = cattrs.unstructure(self.record)
                return web.json_response({"total": len(calls), "operations": counts, "calls": calls})
            case method, path:
                return web.json_response({"error": f"no {method} of {_CONTROL}{path}"}, status=404)

    @staticmethod
    async def _told(
        request: web.Request, kind: type[_Told], tell: Callable[[_Told], None]
    ) -> web.StreamResponse:
        try:
            told = _CONVERTER.structure(await request.json(), kind)
        except json.JSONDecodeError as error:
            return web.json_response({"error": str(error)}, status=400)
        except BaseValidationError as error:
            return web.json_response(
                {"error": "; ".join(cattrs.transform_error(error, format_exception=_worded))}, status=400
            )
        tell(told)
        return web.Response(status=204)


def _worded(error: BaseException, _: object) -> str:
    return f"{type(error).__name__}: {error}"


def _hung_up(request: web.Request) -> web.StreamResponse:
    """Close the connection; nobody receives the returned answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)
