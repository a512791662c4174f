"""What the Proxmox VE API means by its errors, in ours. Imported with the SDK and not before.

The API puts its message into the HTTP reason and has few codes: 500 is everything from a stopped
guest to a missing agent, 595 to 599 are failures between the nodes of a cluster.
"""

from __future__ import annotations

import requests
from proxmoxer.core import AuthenticationError, ResourceException

from routerd.errors import PermanentError, ProviderError, TransientError

SDK_ERRORS = (ResourceException, AuthenticationError, requests.exceptions.RequestException)

_PRIVILEGES = (
    "the token's role needs VM.Audit, VM.Config.Network and VM.GuestAgent.Unrestricted "
    "(VM.Monitor before 9.0)"
)


def translate(what: str, error: Exception) -> ProviderError:
    """Return our error for one of `SDK_ERRORS`; `what` names the operation and its object."""
    if isinstance(error, requests.exceptions.SSLError):
        return PermanentError(f"{what}: the certificate is not trusted ({error}); set caFile")
    if isinstance(error, requests.exceptions.RequestException):
        return TransientError(f"{what}: the host does not answer: {_short(error)}")
    if isinstance(error, AuthenticationError):
        return PermanentError(f"{what}: the API token is refused; see tokenFile")
    if not isinstance(error, ResourceException):
        return TransientError(f"{what}: {_short(error)}")
    words = " ".join(str(error.content).split()).rstrip(".")
    if error.status_code == 401:
        return PermanentError(f"{what}: the API token is refused ({words}); see tokenFile")
    if error.status_code == 403:
        return PermanentError(f"{what}: not permitted ({words}); {_PRIVILEGES}")
    if "guest agent" in words.lower():
        return TransientError(
            f"{what}: {words}; install qemu-guest-agent in the guest and enable it in the VM's options"
        )
    if "not running" in words.lower():
        return TransientError(f"{what}: {words}; start the guest")
    if error.status_code in (400, 404, 501):
        return PermanentError(f"{what}: {words}")
    return TransientError(f"{what}: {error.status_code} {words}")


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[-200:] if text else type(error).__name__
