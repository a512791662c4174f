"""The meaning of an answer of the AWS API for routerd. Pure: knows statuses and codes, not the SDK."""

from datetime import timedelta

import attrs

from routerd.errors import PermanentError, ProviderError, TransientError
from routerd.model.fabric import FabricRouteKey


class ExistsError(TransientError):
    """A route to the prefix exists already (`RouteAlreadyExists`): read the table again."""


class MissingError(PermanentError):
    """The route or resource that the call names does not exist."""


class GrantedError(ProviderError):
    """EC2 would have made a request with `DryRun` (`DryRunOperation`); not a failure."""


class QuotaError(PermanentError):
    """The table is full."""


class DeniedError(PermanentError):
    """The credentials lack a permission."""


class CredentialsError(TransientError):
    """There are no credentials, or AWS does not accept them."""


class ThrottledError(TransientError):
    """There were too many calls; `retry_after` is the time until the next one may go out."""


class UnreachableError(TransientError):
    """There was no answer; the request may have had its effect all the same."""


HALTING = (DeniedError, CredentialsError, ThrottledError, UnreachableError)
"""Errors that the next call of the same kind would meet too."""

_UNAUTHORIZED = frozenset(
    {"UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "Client.UnauthorizedOperation"}
)
_UNAUTHENTICATED = frozenset(
    {"AuthFailure", "ExpiredToken", "RequestExpired", "InvalidClientTokenId", "MissingAuthenticationToken"}
    | {"SignatureDoesNotMatch", "UnrecognizedClientException", "ExpiredTokenException"}
)
_THROTTLED = frozenset(
    {
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "RequestThrottled",
    }
)
_BUSY = frozenset({"IncorrectState", "ResourceBusy", "DependencyViolation", "Unavailable", "InternalError"})

_THROTTLED_LATER = timedelta(seconds=10)
_FAILED_LATER = timedelta(seconds=5)
_CREDENTIALS_LATER = timedelta(seconds=15)


@attrs.frozen(kw_only=True)
class Refusal:
    """An answer with an error: its status, its code, and its message.

    `service` is the word before the colon of a permission: `ec2:CreateRoute`.
    """

    operation: str
    resource: str
    service: str = "ec2"
    status: int
    code: str
    message: str = ""
    request_id: str = ""
    retry_after: str = ""


def service_error(refusal: Refusal) -> ProviderError:
    """Return our error for an answer with an error (Amazon EC2 API Reference, "Error codes")."""
    code, status = refusal.code, refusal.status
    what = f"aws {refusal.operation} {refusal.resource}".rstrip()
    # The encoded reason of a missing permission is a page of letters that only AWS can read.
    plain = refusal.message.partition("Encoded authorization failure message")[0].strip().rstrip(".")
    answer = f"{status} {code}: {plain}" + (f" (request {refusal.request_id})" if refusal.request_id else "")
    later = _seconds(refusal.retry_after)
    if code == "DryRunOperation":
        return GrantedError(f"{what}: the dry run succeeded")
    if code in _UNAUTHORIZED or (status == 403 and code not in _UNAUTHENTICATED):
        permission = f"{refusal.service}:{refusal.operation}"
        return DeniedError(f"{what}: permission {permission} is missing, {answer}; {grant(permission)}")
    if code in _UNAUTHENTICATED or status == 401:
        # The SDK replaces credentials of a role before they end; soon there may be better ones.
        return CredentialsError(
            f"{what}: credentials are not accepted, {answer}; check the instance's role and its clock",
            retry_after=_CREDENTIALS_LATER,
        )
    if code in _THROTTLED or status == 429:
        return ThrottledError(f"{what}: throttled, {answer}", retry_after=later or _THROTTLED_LATER)
    if code.endswith("LimitExceeded"):
        return QuotaError(f"{what}: quota reached, {answer}")
    if code == "RouteAlreadyExists":
        return ExistsError(f"{what}: exists already, {answer}")
    # ReplaceRoute has no code of its own for a route that is not there.
    no_route = refusal.operation == "ReplaceRoute" and code == "InvalidParameterValue"
    if ".NotFound" in code or code == "NoSuchResourceException" or no_route:
        return MissingError(f"{what}: not found, {answer}")
    if status >= 500 or code in _BUSY:
        return TransientError(f"{what}: service failed, {answer}", retry_after=later or _FAILED_LATER)
    return PermanentError(f"{what}: refused, {answer}")


def grant(permission: str) -> str:
    """Return the remedy for a permission that is missing."""
    return f"allow {permission} in the policy of the instance's role"


def route_name(key: FabricRouteKey) -> str:
    """Return a route as the subject of a message."""
    return f"aws route {key.prefix} in {key.table}"


def unreachable(*, operation: str, resource: str, reason: str) -> ProviderError:
    """Return our error for a call that got no answer."""
    what = f"aws {operation} {resource}".rstrip()
    return UnreachableError(
        f"{what}: no answer, {reason}; check DNS, the path to the API endpoint, and its certificate",
        retry_after=_FAILED_LATER,
    )


def no_credentials(*, operation: str, resource: str, reason: str) -> ProviderError:
    """Return our error for a call that could not be signed."""
    what = f"aws {operation} {resource}".rstrip()
    return CredentialsError(
        f"{what}: no credentials, {reason}; attach a role to the instance", retry_after=_CREDENTIALS_LATER
    )


def not_tried(key: FabricRouteKey, error: ProviderError) -> ProviderError:
    """Return the error of a route that was not tried, because one before it met `error`."""
    return type(error)(
        f"{route_name(key)}: not tried, because an earlier one failed; {error}", retry_after=error.retry_after
    )


def _seconds(text: str) -> timedelta | None:
    """Return a `Retry-After` in seconds."""
    return timedelta(seconds=int(text)) if text.isdigit() else None
