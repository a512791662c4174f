"""What an answer of Azure Resource Manager means for us. Pure: knows statuses and codes, not the SDK."""

from __future__ import annotations

import re
from datetime import timedelta

from routerd.errors import PermanentError, ProviderError, TransientError


class StaleError(TransientError):
    """The resource changed between our read and our write (412): read it again."""


class RejectedError(PermanentError):
    """The content of a request is refused (400, 409); perhaps something stands in the way."""


class MissingError(PermanentError):
    """The resource that was named is not there (404)."""


class DeniedError(PermanentError):
    """The identity lacks a permission (403)."""


class QuotaError(PermanentError):
    """A table is full."""


class ThrottledError(TransientError):
    """There were too many calls (429): nobody of the subscription should make one now."""


_BUSY = frozenset(
    {
        "AnotherOperationInProgress",
        "RetryableError",
        "OperationPreempted",
        "Canceled",
        "ReferencedResourceNotProvisioned",
    }
)
_BROKEN = frozenset({"InternalServerError", "NetworkingInternalOperationError"})
"""What an operation says that began well, so that its status does not tell."""

_LACKING = (
    re.compile(r"perform action(?:\(s\))? '([^']+)' on the linked scope"),
    re.compile(r"not have authorization to perform action '([^']+)'"),
)
"""How an answer names the action that is missing: where a body refers to, or another than the call's own,
as when a write is followed to its end by a read."""

THROTTLED_LATER = timedelta(seconds=10)
"""How long to wait when there were too many calls and the answer does not say."""

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
        lacking = next((found[1] for each in _LACKING if (found := each.search(message))), action)
        return DeniedError(
            f"{what}: permission {lacking} is missing, {said}{trace}; assign a role "
            "with this action to the VM's managed identity"
        )
    # Comes with 409, and with 429 too, though there were not too many calls (Azure/azure-sdk-for-go#588).
    if code in _BUSY:
        return TransientError(
            f"{what}: resource is being changed, {said}{trace}", retry_after=wait or _BUSY_LATER
        )
    if status == 429:
        return ThrottledError(f"{what}: throttled, {said}{trace}", retry_after=wait or THROTTLED_LATER)
    if status >= 500 or status == 408 or code in _BROKEN:
        return TransientError(f"{what}: service failed, {said}{trace}", retry_after=wait or _FAILED_LATER)
    if status == 412:
        return StaleError(f"{what}: changed meanwhile, {said}{trace}", retry_after=_BUSY_LATER)
    if "Limit" in code or "Quota" in code:
        return QuotaError(
            f"{what}: quota reached, {said}{trace}; free some routes, set aggregate in the profile, or have "
            'the limit "Routes per Route Table" raised'
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


def held(*, resource: str, seconds: float) -> ProviderError:
    """Return our error for a call that was not made because calls are held back."""
    return ThrottledError(
        f"azure {resource}: not asked within {seconds:.0f} s, this subscription has had too many calls; "
        "asked again later",
        retry_after=THROTTLED_LATER,
    )


def no_credentials(*, action: str, resource: str, reason: str) -> ProviderError:
    """Return our error for a call that could not get a token."""
    return TransientError(
        f"azure {action} {resource}: no token, {reason}; assign a managed identity to the VM",
        retry_after=_CREDENTIALS_LATER,
    )
