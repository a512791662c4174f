"""What an answer of the OCI API means for us. Pure: knows statuses and codes, not the SDK."""

from __future__ import annotations

from datetime import timedelta

from routerd.errors import PermanentError, ProviderError, TransientError

# Permissions that each operation needs, as statements of an IAM policy. From the reference
# "Details for the Core Services" (corepolicyreference) of the OCI documentation.
STATEMENTS = {
    "GetVnic": "use vnics",
    "UpdateVnic": "use vnics",
    "ListVnicAttachments": "inspect vnic-attachments",
    "ListPrivateIps": "use private-ips",
    "GetSubnet": "read subnets",
    "GetVcn": "read vcns",
    "GetRouteTable": "read route-tables",
    "UpdateRouteTable": "manage route-tables",
}


class StaleError(TransientError):
    """The resource changed between our read and our write (412 `NoEtagMatch`): read it again."""


class RejectedError(PermanentError):
    """The content of a request is wrong (400): a smaller one may do."""


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
        return TransientError(
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
        return PermanentError(
            f"{what}: not authenticated, {said}{trace}; check that the instance belongs to a dynamic group "
            "and that the host's clock is right"
        )
    if status in (403, 404):
        statement = STATEMENTS.get(operation, "manage virtual-network-family")
        return PermanentError(
            f"{what}: not authorized or not found, {said}{trace}; if it exists, add the policy statement "
            f'"allow dynamic-group <routers> to {statement} in compartment <compartment>"'
        )
    if code in ("LimitExceeded", "QuotaExceeded"):
        return PermanentError(f"{what}: limit reached, {said}{trace}; ask for a higher service limit")
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
