"""What an answer of Azure Resource Manager means for us. Pure: knows statuses and codes, not the SDK."""

from __future__ import annotations

from datetime import timedelta

from routerd.errors import PermanentError, ProviderError, TransientError


class StaleError(TransientError):
    """The resource changed between our read and our write (412): read it again."""


class RejectedError(PermanentError):
    """The content of a request is refused (400, 409); perhaps something stands in the way."""


class MissingError(PermanentError):
    """The resource that was named is not there (404)."""


_BUSY = frozenset(
    {
        "AnotherOperationInProgress",
        "RetryableError",
        "OperationPreempted",
        "Canceled",
        "ReferencedResourceNotProvisioned",
    }
)
_THROTTLED_LATER = timedelta(seconds=10)
_FAILED_LATER = timedelta(seconds=5)
_BUSY_LATER = timedelta(seconds=3)
_CREDENTIALS_LATER = timedelta(seconds=15)


def service_error(
    *, action: str, resource: str, status: int, code: str, message: str, request_id: str, retry_after: str
) -> ProviderError:
    """Return our error for an answer with an error ("Troubleshoot common Azure deployment errors").

    `action` is the action of the role that the call needs, such as
    `Microsoft.Network/routeTables/routes/write`. An asynchronous operation that failed has
    the status 200.
    """
    what = f"azure {action} {resource}"
    said = f"{status} {code}: {message.strip().rstrip('.')}"
    trace = f" (request {request_id})" if request_id else ""
    wait = timedelta(seconds=int(retry_after)) if retry_after.isdigit() else None
    if status == 401:
        return TransientError(
            f"{what}: credentials are not accepted, {said}{trace}; check the VM's managed identity",
            retry_after=_CREDENTIALS_LATER,
        )
    if status == 403:
        return PermanentError(
            f"{what}: permission {action} is missing, {said}{trace}; assign a role with this action "
            "to the VM's managed identity"
        )
    if status == 429:
        return TransientError(f"{what}: throttled, {said}{trace}", retry_after=wait or _THROTTLED_LATER)
    if code in _BUSY:
        return TransientError(
            f"{what}: resource is being changed, {said}{trace}", retry_after=wait or _BUSY_LATER
        )
    if status >= 500 or status == 408:
        return TransientError(f"{what}: service failed, {said}{trace}", retry_after=wait or _FAILED_LATER)
    if status == 412:
        return StaleError(f"{what}: changed meanwhile, {said}{trace}", retry_after=_BUSY_LATER)
    if "Limit" in code or "Quota" in code:
        return PermanentError(
            f"{what}: quota reached, {said}{trace}; a route table holds 400 routes by default, "
            "use fewer addresses"
        )
    if status == 404:
        return MissingError(f"{what}: not found, {said}{trace}")
    return RejectedError(f"{what}: refused, {said}{trace}")


def unreachable(*, action: str, resource: str, reason: str) -> ProviderError:
    """Return our error for a call that got no answer."""
    return TransientError(
        f"azure {action} {resource}: no answer, {reason}; check DNS, the way to the API endpoint, and its "
        "certificate",
        retry_after=_FAILED_LATER,
    )


def no_credentials(*, action: str, resource: str, reason: str) -> ProviderError:
    """Return our error for a call that could not get a token."""
    return TransientError(
        f"azure {action} {resource}: no token, {reason}; assign a managed identity to the VM",
        retry_after=_CREDENTIALS_LATER,
    )
