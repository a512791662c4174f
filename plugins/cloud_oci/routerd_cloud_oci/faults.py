"""The meaning of each answer of the OCI API. Pure: knows statuses and codes, not the SDK."""

from datetime import timedelta

from routerd.errors import PermanentError, ProviderError, StaleError, TransientError
from routerd_cloud_oci.limits import PERMISSIONS, remedy


class ThrottledError(TransientError):
    """OCI throttles us (429); no process of the account may call for `retry_after`."""


class DeniedError(PermanentError):
    """The permission is missing or the resource does not exist (403, 404); OCI does not say which."""


class UnauthenticatedError(PermanentError):
    """OCI does not recognize the caller (401)."""


class RejectedError(PermanentError):
    """The content of the request is wrong (400); a smaller request may succeed."""


class FullError(RejectedError):
    """The request would exceed a service limit, such as that of rules in a route table."""


_THROTTLED = timedelta(seconds=10)
_UNAVAILABLE = timedelta(seconds=5)
_CONFLICT = timedelta(seconds=2)


def service_error(
    *, operation: str, resource: str, status: int, code: str, message: str, request_id: str, retry_after: str
) -> ProviderError:
    """Return our error for an answer with an error status (OCI API reference, "API Errors").

    OCI answers 404 `NotAuthorizedOrNotFound` for a missing permission too, so that a caller cannot probe
    for what exists. The message names both causes.
    """
    what = f"oci {operation} {resource}".rstrip()
    said = f"{status} {code}: {message.strip().rstrip('.')}"
    trace = f" (opc-request-id {request_id})" if request_id else ""
    if status == 429:
        return ThrottledError(
            f"{what}: throttled; {said}{trace}", retry_after=_seconds(retry_after) or _THROTTLED
        )
    if status >= 500:
        return TransientError(
            f"{what}: service failed; {said}{trace}", retry_after=_seconds(retry_after) or _UNAVAILABLE
        )
    if status == 409 and code in ("IncorrectState", "Conflict", "ExternalServerIncorrectState"):
        return TransientError(f"{what}: resource is being changed; {said}{trace}", retry_after=_CONFLICT)
    if status == 412:
        return StaleError(f"{what}: changed since it was read; {said}{trace}", retry_after=_CONFLICT)
    if status == 401:
        return UnauthenticatedError(
            f"{what}: not authenticated; {said}{trace}; put the instance into the dynamic group, and check "
            "the host's clock"
        )
    if status in (403, 404):
        # The API reference does not say whether a rule whose target is gone may be written back.
        targets = (
            ", and remove rules whose target no longer exists" if operation == "UpdateRouteTable" else ""
        )
        return DeniedError(
            f"{what}: not authorized or not found; {said}{trace}; if it exists, "
            f"{remedy(*PERMISSIONS.get(operation, ()))}{targets}"
        )
    if code in ("LimitExceeded", "QuotaExceeded"):
        return FullError(
            f"{what}: limit reached; {said}{trace}; remove rules, or request a higher service limit "
            "(a route table holds 200 rules by default)"
        )
    if status == 400:
        return RejectedError(f"{what}: rejected; {said}{trace}")
    return PermanentError(f"{what}: refused; {said}{trace}")


def unreachable(*, operation: str, resource: str, reason: str) -> ProviderError:
    """Return our error for a call without an answer."""
    what = f"oci {operation} {resource}".rstrip()
    return TransientError(
        f"{what}: no answer; {reason}; check DNS, the route to the API endpoint and its certificate",
        retry_after=_UNAVAILABLE,
    )


def _seconds(text: str) -> timedelta | None:
    """Return a `Retry-After` in seconds; OCI sends no dates."""
    return timedelta(seconds=int(text)) if text.isdigit() else None
