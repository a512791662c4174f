"""What an answer of the Proxmox VE API means for us. Pure: knows statuses and words, not the SDK.

The API puts its message into the HTTP reason and has few statuses: 500 is everything from a stopped
guest to a missing agent, 595 to 599 are failures between the nodes of a cluster.
"""

from __future__ import annotations

import re
from datetime import timedelta

from routerd.errors import PermanentError, ProviderError, TransientError


class SilentError(TransientError):
    """The host itself gives no answer."""


class BusyError(TransientError):
    """The host, or a proxy in front of it, had too many requests."""


class RefusedError(PermanentError):
    """The host lets us do nothing at all, or is none."""


class AbsentError(TransientError):
    """The guest is not on the node that was asked, or that node does not answer."""


IN_VAIN = (SilentError, BusyError, RefusedError)
"""What is as true of the next guest as of this one."""


_LATER = timedelta(seconds=5)

_PRIVILEGES = (
    "the token's role needs VM.Audit and VM.GuestAgent.Unrestricted (VM.Monitor before 9.0) on the client "
    "guests, VM.Audit and VM.Config.Network on the router's own"
)

_ADVICE = (
    # Sentences of qemu-server and of the guest agent, in lower case; the first that is found counts.
    ("agent error: pid", "the answer to an earlier request was lost; it is tried again"),
    ("detected modified configuration", "somebody else changed it just now; it is looked at again"),
    ("has been disabled", "allow guest-exec in the agent's settings in the guest (block-rpcs, blacklist)"),
    ("failed to execute child process", "install iproute2 in the guest"),
    ("no qemu guest agent configured", "enable it: qm set VMID --agent enabled=1, and restart the guest"),
    ("guest agent is not running", "install and start qemu-guest-agent in the guest"),
    ("got timeout", "the guest or its agent hangs; restart qemu-guest-agent in the guest"),
    ("is not running", "start the guest"),
)
_GONE = re.compile("configuration file .* does not exist")


def service_error(what: str, status: int, message: str, *, wait: float | None = None) -> ProviderError:
    """Return our error for an answer with an error status; `what` names the operation and its object.

    `wait` is in seconds, for a host that had too many requests.
    """
    said = f"{status} {' '.join(message.split()).rstrip('.!')}".rstrip()
    if wait is not None:
        return BusyError(
            f"{what}: there were too many requests, {said}; routerd waits for {wait:g} s",
            retry_after=timedelta(seconds=wait),
        )
    if status == 401:
        return RefusedError(
            f"{what}: the API token is refused, {said}; put a token that is valid into tokenFile"
        )
    if status == 403:
        return PermanentError(f"{what}: not permitted, {said}; {_PRIVILEGES}")
    if status in (400, 404, 501):
        return PermanentError(f"{what}: refused, {said}; check the options, and the host's version")
    if 595 <= status <= 599:
        return AbsentError(
            f"{what}: the guest's node does not answer within its cluster, {said}; check that node",
            retry_after=_LATER,
        )
    low = said.lower()
    if _GONE.search(low):
        return AbsentError(
            f"{what}: {said}; the guest was removed or moves to another node, it is looked for again",
            retry_after=_LATER,
        )
    advice = next((advice for words, advice in _ADVICE if words in low), None)
    if advice is not None:
        return TransientError(f"{what}: {said}; {advice}", retry_after=_LATER)
    return TransientError(f"{what}: failed, {said}", retry_after=_LATER)


def silent(what: str, reason: str) -> ProviderError:
    """Return our error for a call that got no answer."""
    return SilentError(
        f"{what}: the host does not answer, {reason}; check host and port, and the way to them",
        retry_after=_LATER,
    )


def untrusted(what: str, reason: str) -> ProviderError:
    """Return our error for a certificate that nobody vouches for."""
    return RefusedError(f"{what}: the certificate is not trusted, {reason}; set caFile, and host as in it")


def nonsense(what: str) -> ProviderError:
    """Return our error for an answer of another shape than the API's."""
    return RefusedError(f"{what}: the answer is not one of Proxmox VE; check host and port")
