"""The meaning of each answer of the Proxmox VE API. Pure: knows statuses and words, not the SDK.

The API puts its message into the HTTP reason and has few statuses: 500 stands for everything from a stopped
guest to a missing agent, and 595 to 599 for failures between the nodes of a cluster.
"""

import re
from datetime import timedelta

from routerd.errors import PermanentError, ProviderError, StaleError, TransientError
from routerd_cloud_pve.limits import REMEDY


class SilentError(TransientError):
    """The host itself does not answer."""


class BusyError(TransientError):
    """The host, or a proxy in front of it, received too many requests."""


class RefusedError(PermanentError):
    """The host refuses everything that we ask, or the server is not a Proxmox VE host."""


class AbsentError(TransientError):
    """The guest is not on the node that we asked, or that node does not answer."""


IN_VAIN = (SilentError, BusyError, RefusedError)
"""Errors about the host, which every other guest would meet too."""


_LATER = timedelta(seconds=5)

_ADVICE = (
    # Sentences of qemu-server and of the guest agent, in lower case; the first match counts.
    ("agent error: pid", "an earlier answer was lost; will retry in 5 s"),
    ("has been disabled", "allow guest-exec in the agent's settings in the guest (block-rpcs, blacklist)"),
    ("failed to execute child process", "install iproute2 in the guest"),
    ("no qemu guest agent configured", "enable it (qm set VMID --agent enabled=1) and restart the guest"),
    ("guest agent is not running", "install and start qemu-guest-agent in the guest"),
    ("got timeout", "restart qemu-guest-agent, or the guest if it hangs"),
    ("is not running", "start the guest"),
)
_GONE = re.compile("configuration file .* does not exist")


def service_error(what: str, status: int, message: str, *, wait: float | None = None) -> ProviderError:
    """Return our error for an answer with an error status; `what` names the operation and its object.

    `wait` is in seconds, for a host with too many requests.
    """
    said = f"{status} {' '.join(message.split()).rstrip('.!')}".rstrip()
    if wait is not None:
        return BusyError(
            f"{what}: too many requests; {said}; will retry in {wait:g} s",
            retry_after=timedelta(seconds=wait),
        )
    if status == 401:
        return RefusedError(f"{what}: the API token is refused; {said}; put a valid token into tokenFile")
    if status == 403:
        return PermanentError(f"{what}: not permitted; {said}; {REMEDY}")
    if status in (400, 404, 501):
        return PermanentError(f"{what}: refused; {said}; check the options and the host's version")
    if 595 <= status <= 599:
        return AbsentError(
            f"{what}: the guest's node does not answer within its cluster; {said}; check that node",
            retry_after=_LATER,
        )
    low = said.lower()
    if _GONE.search(low):
        return AbsentError(
            f"{what}: {said}; the guest was removed or is moving to another node; will look for it in 5 s",
            retry_after=_LATER,
        )
    if "detected modified configuration" in low:
        return StaleError(f"{what}: changed since it was read; {said}; will retry in 5 s", retry_after=_LATER)
    advice = next((advice for words, advice in _ADVICE if words in low), None)
    if advice is not None:
        return TransientError(f"{what}: {said}; {advice}", retry_after=_LATER)
    return TransientError(f"{what}: the request failed with {said}", retry_after=_LATER)


def silent(what: str, reason: str) -> ProviderError:
    """Return our error for a call without an answer."""
    return SilentError(
        f"{what}: the host does not answer; {reason}; check host, port and the route to them",
        retry_after=_LATER,
    )


def untrusted(what: str, reason: str) -> ProviderError:
    """Return our error for a certificate that no trusted authority signed."""
    return RefusedError(
        f"{what}: the certificate is not trusted; {reason}; set caFile, and write host as in the certificate"
    )


def nonsense(what: str) -> ProviderError:
    """Return our error for an answer that does not have the shape of the API."""
    return RefusedError(f"{what}: the answer does not come from Proxmox VE; check host and port")
