"""The API of an emulated region of AWS: moto, plus the rules that it lacks and that a fabric depends on.

Requests are answered by moto's own server application. Added here:

- Amazon EC2 API Reference, "Error codes": credentials must be the instance's own (`AuthFailure`);
  `DryRun` ends in `DryRunOperation`, and what is in `denied` in `UnauthorizedOperation`, with the encoded
  reason; `CreateRoute` on a taken prefix is `RouteAlreadyExists`.
- Amazon VPC User Guide, "Route tables" and "Amazon VPC quotas": inside the VPC only a subnet's own
  prefix can be routed; a table has a quota of non-propagated routes, IPv4 and IPv6 apart
  (`RouteLimitExceeded`); a route whose target is gone is a `blackhole`.
- Service Quotas API Reference: `GetServiceQuota` answers what the account was given, and
  `NoSuchResourceException` where that is nothing; `GetAWSDefaultServiceQuota` the default.
- Amazon EC2 Developer Guide, "Request throttling" and "Eventual consistency": by `troubles`.

Not emulated: signatures.
"""

import asyncio
import datetime as dt
import json
import re
import secrets
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web

from routerd_lab.clouds.metadata_aws import Credentials
from routerd_lab.clouds.state import Failure
from routerd_lab.clouds.trouble import Dialect, Troubles

ACCOUNT = "123456789012"
DEFAULT_ROUTES = 500
"""Routes in a table by default; an account may be given up to 1000 (Amazon VPC quotas)."""

ROUTES_QUOTA = "L-93826ACB"

_CREDENTIAL = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/aws4_request")
_READS = ("Describe", "Get", "List")
_QUOTAS_TARGET = "ServiceQuotasV20190624."
_JSON = "application/x-amz-json-1.1"


class AwsApi:
    """The EC2 Query API and Service Quotas of one region; it calls `on_change` after every write.

    `denied` are the permissions that the role lacks, such as `ec2:CreateRoute`; `account_routes` is the
    quota that the account was given, none for the default.
    """

    def __init__(
        self,
        *,
        region: str,
        ec2: Any,  # noqa: ANN401 - Any: moto's models have no public types
        network: IPv4Network,
        subnets: frozenset[IPv4Network],
        on_change: Callable[[], None],
    ) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app  # noqa: PLC0415 - slow
        from werkzeug.test import Client  # noqa: PLC0415 - as above

        self.credentials: dict[str, Credentials] = {}
        self.denied: set[str] = set()
        self.account_routes: int | None = None
        self.troubles = Troubles(
            Dialect(
                operation=_operation,
                reads=lambda operation: operation.startswith(_READS),
                answer=_error,
                # EC2 sends no Retry-After.
                throttled=Failure(status=503, code="RequestLimitExceeded", message="Request limit exceeded."),
                broken=Failure(status=500, code="InternalError", message="An internal error has occurred."),
            )
        )
        self._region = region
        self._ec2 = ec2
        self._network = network
        self._subnets = subnets
        self._on_change = on_change
        self._moto = Client(DomainDispatcherApplication(create_backend_app))
        self._one_at_a_time = asyncio.Lock()

    @property
    def most_routes(self) -> int:
        """Return how many routes a table may hold."""
        return DEFAULT_ROUTES if self.account_routes is None else self.account_routes

    def app(self) -> web.Application:
        """Return the application."""
        app = web.Application(middlewares=[self.troubles.middleware])
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        action = _operation(request, body)
        failure = self._refusal(request, action)
        if request.headers.get("X-Amz-Target", "").startswith(_QUOTAS_TARGET):
            return _json_error(failure) if failure else self._quota(action, json.loads(body))
        if failure is not None:
            return _error(failure)
        form = _form(body)
        if form.get("DryRun") == "true":
            return _error(_GRANTED)
        async with self._one_at_a_time:
            failure = self._rule(action, form)
            if failure is not None:
                return _error(failure)
            status, headers, answer = await asyncio.to_thread(self._ask_moto, request, body)
            if action == "DescribeRouteTables":
                answer = self._with_blackholes(answer)
        if status < 300 and not action.startswith(_READS):
            self._on_change()
        return web.Response(status=status, headers={"Content-Type": headers}, body=answer)

    def _ask_moto(self, request: web.Request, body: bytes) -> tuple[int, str, bytes]:
        answer = self._moto.open(
            path=request.path,
            base_url=f"https://{request.host}",
            method=request.method,
            headers=[
                (key, value) for key, value in request.headers.items() if key.lower() != "content-length"
            ],
            data=body,
        )
        return answer.status_code, answer.headers.get("Content-Type", "text/xml"), answer.get_data()

    def _refusal(self, request: web.Request, action: str) -> Failure | None:
        """Return the refusal of an unauthorized caller, or none."""
        scope = _CREDENTIAL.search(request.headers.get("Authorization", ""))
        if scope is None:
            return Failure(
                status=400,
                code="MissingAuthenticationToken",
                message="Request is missing Authentication Token",
            )
        held = self.credentials.get(scope[1])
        if held is None or request.headers.get("X-Amz-Security-Token") != held.token:
            return Failure(
                status=401,
                code="AuthFailure",
                message="AWS was not able to validate the provided access credentials",
            )
        if held.expires < dt.datetime.now(dt.UTC):
            return Failure(status=400, code="RequestExpired", message="Request has expired.")
        if scope[2] != self._region or not action:
            return Failure(
                status=400, code="InvalidAction", message="The action is not valid for this endpoint"
            )
        permission = f"{scope[3]}:{action}"
        return _denied(permission) if permission in self.denied else None

    def _quota(self, action: str, asked: Mapping[str, str]) -> web.Response:
        """Answer for the one quota; moto knows only a constant for it."""
        known = asked.get("ServiceCode") == "vpc" and asked.get("QuotaCode") == ROUTES_QUOTA
        value = {"GetServiceQuota": self.account_routes, "GetAWSDefaultServiceQuota": DEFAULT_ROUTES}.get(
            action
        )
        if not known or value is None:
            return _json_error(
                Failure(
                    status=400,
                    code="NoSuchResourceException",
                    message="The request failed because the specified service quota does not exist.",
                )
            )
        quota = {
            "ServiceCode": "vpc",
            "ServiceName": "Amazon Virtual Private Cloud (Amazon VPC)",
            "QuotaCode": ROUTES_QUOTA,
            "QuotaName": "Routes per route table",
            "Value": float(value),
            "Unit": "None",
            "Adjustable": True,
            "GlobalQuota": False,
        }
        return web.json_response({"Quota": quota}, content_type=_JSON)

    def _rule(self, action: str, form: Mapping[str, str]) -> Failure | None:
        """Return why EC2 would refuse a new route that moto accepts."""
        table = self._ec2.route_tables.get(form.get("RouteTableId", ""))
        text = form.get("DestinationCidrBlock", "")
        if action != "CreateRoute" or table is None or not text:
            return None
        try:
            prefix = IPv4Network(text)
        except ValueError:
            return Failure(
                status=400,
                code="InvalidParameterValue",
                message=f"Value ({text}) for parameter destinationCidrBlock is invalid.",
            )
        if any(route.destination_cidr_block == text for route in table.routes):
            return Failure(
                status=400,
                code="RouteAlreadyExists",
                message=f"The route identified by {text} already exists.",
            )
        if prefix.subnet_of(self._network) and prefix not in self._subnets:
            return Failure(
                status=400,
                code="InvalidParameterValue",
                message=f"The destination CIDR block {text} is equal to or more specific than one of "
                "this VPC's CIDR blocks, and matches no subnet.",
            )
        used = sum(not route.local and not route.destination_ipv6_cidr_block for route in table.routes)
        if used >= self.most_routes:
            return Failure(
                status=400,
                code="RouteLimitExceeded",
                message=f"The maximum number of routes has been reached ({self.most_routes}).",
            )
        return None

    def _with_blackholes(self, answer: bytes) -> bytes:
        """Mark the routes whose interface is gone; moto calls all of them `active`."""
        text = answer.decode()
        for item in set(re.findall(r"<networkInterfaceId>(eni-[0-9a-f]+)</networkInterfaceId>", text)):
            if item not in self._ec2.enis:
                text = re.sub(
                    rf"(<networkInterfaceId>{item}</networkInterfaceId>(?:(?!</item>).)*?<state>)active",
                    r"\1blackhole",
                    text,
                    flags=re.DOTALL,
                )
        return text.encode()


_GRANTED = Failure(
    status=412, code="DryRunOperation", message="Request would have succeeded, but DryRun flag is set."
)


def _form(body: bytes) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(body.decode()).items()}


def _operation(request: web.Request, body: bytes) -> str:
    """Return the action: of the Query protocol in the form, of the JSON one in a header."""
    target = request.headers.get("X-Amz-Target", "")
    return target.partition(".")[2] if target else _form(body).get("Action", "")


def _denied(permission: str) -> Failure:
    who = f"User: arn:aws:sts::{ACCOUNT}:assumed-role/routerd/i-0 is not authorized to perform: {permission}"
    why = f"because no identity-based policy allows the {permission} action"
    if permission.startswith("servicequotas:"):
        return Failure(status=400, code="AccessDeniedException", message=f"{who} {why}")
    return Failure(
        status=403,
        code="UnauthorizedOperation",
        message=f"You are not authorized to perform this operation. {who} {why}. "
        f"Encoded authorization failure message: {secrets.token_urlsafe(300)}",
    )


def _error(failure: Failure) -> web.Response:
    """Return an error in EC2's own form (Amazon EC2 API Reference, "Error codes")."""
    trace = secrets.token_hex(16)
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error>'
        f"<Code>{failure.code}</Code><Message>{failure.message}</Message>"
        f"</Error></Errors><RequestID>{trace}</RequestID></Response>"
    )
    headers = {} if failure.retry_after is None else {"Retry-After": str(failure.retry_after)}
    return web.Response(status=failure.status, text=text, content_type="text/xml", headers=headers)


def _json_error(failure: Failure) -> web.Response:
    """Return an error in the form of Service Quotas (Service Quotas API Reference, "Common Errors")."""
    told = {"__type": failure.code, "Message": failure.message}
    return web.json_response(told, status=failure.status, content_type=_JSON)
