"""What an answer of the EC2 API means for us. Pure: knows statuses and codes, not the SDK."""

from __future__ import annotations

from datetime import timedelta

from routerd.errors import PermanentError, ProviderError, TransientError


class ExistsError(TransientError):
    """A route to the prefix exists already (`RouteAlreadyExists`): read the table again."""


class MissingError(PermanentError):
    """The route or resource that was named is not there."""


_UNAUTHORIZED = frozenset(
    {"UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "Client.UnauthorizedOperation"}
)
_UNAUTHENTICATED = frozenset(
    {"AuthFailure", "ExpiredToken", "RequestExpired", "InvalidClientTokenId", "MissingAuthenticationToken"}
    | {"SignatureDoesNotMatch"}
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


def service_error(
    *, operation: str, resource: str, status: int, code: str, message: str, request_id: str, retry_after: str
) -> ProviderError:
    """Return our error for an answer with an error (Amazon EC2 API Reference, "Error codes")."""
    what = f"aws {operation} {resource}".rstrip()
    said = f"{status} {code}: {message.strip().rstrip('.')}"
    trace = f" (request {request_id})" if request_id else ""
    if code in _UNAUTHORIZED or (status == 403 and code not in _UNAUTHENTICATED):
        return PermanentError(
            f"{what}: permission ec2:{operation} is missing, {said}{trace}; "
            "add it to the policy of the instance's role"
        )
    if code in _UNAUTHENTICATED or status == 401:
        # Credentials of a role are replaced by the SDK before they end; soon there may be better ones.
        return TransientError(
            f"{what}: credentials are not accepted, {said}{trace}; check that the instance has a role "
            "and that its clock is right",
            retry_after=_CREDENTIALS_LATER,
        )
    if code in _THROTTLED or status == 429:
        return TransientError(
            f"{what}: throttled, {said}{trace}", retry_after=_seconds(retry_after) or _THROTTLED_LATER
        )
    if code.endswith("LimitExceeded"):
        return PermanentError(
            f"{what}: quota reached, {said}{trace}; a route table holds 500 routes by default, "
            "ask for the quota L-93826ACB to be raised (at most 1000)"
        )
    if code == "RouteAlreadyExists":
        return ExistsError(f"{what}: exists already, {said}{trace}")
    if ".NotFound" in code:
        return MissingError(f"{what}: not found, {said}{trace}")
    if status >= 500 or code in _BUSY:
        return TransientError(
            f"{what}: service failed, {said}{trace}", retry_after=_seconds(retry_after) or _FAILED_LATER
        )
    return PermanentError(f"{what}: refused, {said}{trace}")


def unreachable(*, operation: str, resource: str, reason: str) -> ProviderError:
    """Return our error for a call that got no answer."""
    what = f"aws {operation} {resource}".rstrip()
    return TransientError(
        f"{what}: no answer, {reason}; check DNS, the way to the API endpoint, and its certificate",
        retry_after=_FAILED_LATER,
    )


def no_credentials(*, operation: str, resource: str, reason: str) -> ProviderError:
    """Return our error for a call that could not be signed."""
    what = f"aws {operation} {resource}".rstrip()
    return TransientError(
        f"{what}: no credentials, {reason}; attach a role to the instance", retry_after=_CREDENTIALS_LATER
    )


def _seconds(text: str) -> timedelta | None:
    """Return a `Retry-After` in seconds."""
    return timedelta(seconds=int(text)) if text.isdigit() else None
