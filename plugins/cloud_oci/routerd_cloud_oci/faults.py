"""What an answer of the OCI API means for us. Pure: knows statuses and codes, not the SDK."""

from __future__ import annotations

from datetime import timedelta

from routerd.errors import PermanentError, ProviderError, TransientError
from routerd_cloud_oci.permissions import PERMISSIONS, remedy


class StaleError(TransientError):
    """The resource changed between our read and our write (412 `NoEtagMatch`): read it again."""


class ThrottledError(TransientError):
    """There were too many calls (429): nobody of the account shall call for `retry_after`."""


class DeniedError(PermanentError):
    """Not permitted or not there (403, 404): OCI does not say which."""


class UnauthenticatedError(PermanentError):
    """The API does not know who calls (401)."""


class RejectedError(PermanentError):
    """The content of a request is wrong (400): a smaller one may do."""


class FullError(RejectedError):
    """The request would go beyond a service limit, such as that of rules in a route table."""


def table_full(*, table: str, prefix: str, used: int, limit: int) -> FullError:
    """Return our error for a rule for which a route table has no room."""
    return FullError(
        f"oci route table {table}: {prefix} has no room, {used} of {limit} rules are in use; remove rules, "
        "let contiguous addresses share one, or have the limit of route rules per route table raised and set "
        "routeRulesLimit"
    )


_THROTTLED = timedelta(seconds=10)
_UNAVAILABLE = timedelta(seconds=5)
_CONFLICT = timedelta(seconds=2)


def service_error(
    *, operation: str, resource: str, status: int, code: str, message: str, request_id: str, retry_after: str
) -> ProviderError:
    """Return our error for an answer with an error status (OCI API reference, "API Errors").

    OCI answers 404 `NotAuthorizedOrNotFound` where a permission is missing, so that nobody can
    probe for what exists; both causes are named.
    """
    what = f"oci {operation} {resource}".rstrip()
    said = f"{status} {code}: {message.strip().rstrip('.')}"
    trace = f" (opc-request-id {request_id})" if request_id else ""
    if status == 429:
        return ThrottledError(
            f"{what}: throttled, {said}{trace}", retry_after=_seconds(retry_after) or _THROTTLED
        )
    if status >= 500:
        return TransientError(
            f"{what}: service failed, {said}{trace}", retry_after=_seconds(retry_after) or _UNAVAILABLE
        )
    if status == 409 and code in ("IncorrectState", "Conflict", "ExternalServerIncorrectState"):
        return TransientError(f"{what}: resource is being changed, {said}{trace}", retry_after=_CONFLICT)
    if status == 412:
        return StaleError(f"{what}: changed meanwhile, {said}{trace}", retry_after=_CONFLICT)
    if status == 401:
        return UnauthenticatedError(
            f"{what}: not authenticated, {said}{trace}; check that the instance belongs to a dynamic group "
            "and that the host's clock is right"
        )
    if status in (403, 404):
        # A rule whose target is gone may be written back or not; the API reference does not say.
        targets = "; see that no rule of it leads to what is gone" if operation == "UpdateRouteTable" else ""
        return DeniedError(
            f"{what}: not authorized or not found, {said}{trace}; if it exists, "
            f"{remedy(*PERMISSIONS.get(operation, ()))}{targets}"
        )
    if code in ("LimitExceeded", "QuotaExceeded"):
        return FullError(
            f"{what}: limit reached, {said}{trace}; remove some rules, or ask for a higher service limit "
            "(a route table holds 200 by default)"
        )
    if status == 400:
        return RejectedError(f"{what}: rejected, {said}{trace}")
    return PermanentError(f"{what}: refused, {said}{trace}")


def unreachable(*, operation: str, resource: str, reason: str) -> ProviderError:
    """Return our error for a call that got no answer."""
    what = f"oci {operation} {resource}".rstrip()
    return TransientError(
        f"{what}: no answer, {reason}; check DNS, the way to the API endpoint, and its certificate",
        retry_after=_UNAVAILABLE,
    )


def _seconds(text: str) -> timedelta | None:
    """Return a `Retry-After` of seconds; OCI sends no dates."""
    return timedelta(seconds=int(text)) if text.isdigit() else None
