"""The meaning of an answer of Azure Resource Manager. Pure: knows statuses and codes, not the SDK."""

import re
from datetime import timedelta

from routerd.errors import PermanentError, ProviderError, StaleError, TransientError
from routerd.model.fabric import FabricRouteKey


class RejectedError(PermanentError):
    """Azure refuses the content of a request (400, 409); perhaps something is in its way."""


class MissingError(PermanentError):
    """The resource that the call names does not exist (404)."""


class DeniedError(PermanentError):
    """The identity lacks a permission (403)."""


class QuotaError(PermanentError):
    """A table is full."""


class ThrottledError(TransientError):
    """There were too many calls (429): no client of the subscription should make one now."""


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
"""Codes of an operation that began well, so that its status does not show the failure."""

_LACKING = (
    re.compile(r"perform action(?:\(s\))? '([^']+)' on the linked scope"),
    re.compile(r"not have authorization to perform action '([^']+)'"),
)
"""How an answer names the missing action: one at a linked resource, or one that is not the call's own, as
when a read follows a write to its end."""

THROTTLED_LATER = timedelta(seconds=10)
"""Time to wait after too many calls if the answer does not say."""

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
    answer = f"{status} {code}: {message.strip().rstrip('.')}"
    answer += f" (request {request_id})" if request_id else ""
    wait = timedelta(seconds=int(retry_after)) if retry_after.isdigit() else None
    if status == 401:
        return TransientError(
            f"{what}: credentials are not accepted, {answer}; check the VM's managed identity",
            retry_after=_CREDENTIALS_LATER,
        )
    if status == 403:
        lacking = next((found[1] for each in _LACKING if (found := each.search(message))), action)
        return DeniedError(
            f"{what}: permission {lacking} is missing, {answer}; assign a role "
            "with this action to the VM's managed identity"
        )
    # Azure sends it with 409, and with 429 too, without too many calls (Azure/azure-sdk-for-go#588).
    if code in _BUSY:
        return TransientError(f"{what}: resource is being changed, {answer}", retry_after=wait or _BUSY_LATER)
    if status == 429:
        return ThrottledError(f"{what}: throttled, {answer}", retry_after=wait or THROTTLED_LATER)
    if status >= 500 or status == 408 or code in _BROKEN:
        return TransientError(f"{what}: service failed, {answer}", retry_after=wait or _FAILED_LATER)
    if status == 412:
        return StaleError(f"{what}: changed since it was read, {answer}", retry_after=_BUSY_LATER)
    if "Limit" in code or "Quota" in code:
        return QuotaError(f"{what}: quota reached, {answer}; {more_room()}")
    if status == 404:
        return MissingError(f"{what}: not found, {answer}")
    return RejectedError(f"{what}: refused, {answer}")


def more_room() -> str:
    """Return the remedy for a full table."""
    return 'free some routes, set aggregate in the profile, or have the limit "Routes per Route Table" raised'


def route_name(key: FabricRouteKey) -> str:
    """Return a route as the subject of a message."""
    return f"azure route {key.prefix} in {key.table}"


def unreachable(*, action: str, resource: str, reason: str) -> ProviderError:
    """Return our error for a call that got no answer."""
    return TransientError(
        f"azure {action} {resource}: no answer, {reason}; check DNS, the path to the API endpoint, and "
        "its certificate",
        retry_after=_FAILED_LATER,
    )


def held(*, resource: str, seconds: float) -> ProviderError:
    """Return our error for a call that was not made because the pacer holds calls back."""
    return ThrottledError(
        f"azure {resource}: no call within {seconds:.0f} s, this subscription has had too many calls; "
        f"routerd will retry in {THROTTLED_LATER.total_seconds():.0f} s",
        retry_after=THROTTLED_LATER,
    )


def no_credentials(*, action: str, resource: str, reason: str) -> ProviderError:
    """Return our error for a call that could not get a token."""
    return TransientError(
        f"azure {action} {resource}: no token, {reason}; assign a managed identity to the VM",
        retry_after=_CREDENTIALS_LATER,
    )
