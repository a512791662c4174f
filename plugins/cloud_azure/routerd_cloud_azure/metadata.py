"""The identity of this VM, from the Instance Metadata Service; plain HTTP on a link-local address, no SDK."""

import asyncio
import json
import urllib.error
import urllib.request
from datetime import timedelta

import attrs

from routerd.errors import PermanentError, TransientError

BASE = "http://169.254.169.254"
_QUERY = "/metadata/instance?api-version=2021-02-01"
_SECONDS = 5.0
_DEADLINE = 15.0
_LATER = timedelta(seconds=5)


@attrs.frozen(kw_only=True)
class Identity:
    """Our resource ID, subscription and resource group as the metadata service says."""

    instance: str
    subscription: str
    group: str


async def identify(base: str = BASE) -> Identity:
    """Return who we are.

    Raises `TransientError` when the service does not answer, `PermanentError` when it refuses or its
    answer cannot be read (Microsoft Learn, "Azure Instance Metadata Service").
    """
    try:
        async with asyncio.timeout(_DEADLINE):
            answer = await asyncio.to_thread(_fetch, f"{base}{_QUERY}")
    except TimeoutError as exc:
        raise TransientError(
            f"azure metadata {base}: no answer within {_DEADLINE:.0f} s", retry_after=_LATER
        ) from exc
    try:
        compute = json.loads(answer)["compute"]
        return Identity(
            instance=str(compute["resourceId"]),
            subscription=str(compute["subscriptionId"]),
            group=str(compute["resourceGroupName"]),
        )
    except (ValueError, KeyError, TypeError) as exc:
        raise PermanentError(f"azure metadata {base}: the answer does not describe an Azure VM") from exc


def _fetch(url: str) -> bytes:
    """Return what is at `url`; blocks for at most a few seconds."""
    request = urllib.request.Request(url, headers={"Metadata": "true"})  # noqa: S310 - http by contract
    # The metadata service is on the link; a proxy of the environment must never see the request.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_SECONDS) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as exc:
        with exc:
            kind = TransientError if exc.code in {410, 429} or exc.code >= 500 else PermanentError
            raise kind(f"azure metadata {url}: answered {exc.code}; check that this is an Azure VM") from exc
    except OSError as exc:
        raise TransientError(
            f"azure metadata {url}: no usable answer, {exc}; "
            "outside Azure set subscriptionID, instanceID and networkInterfaces",
            retry_after=_LATER,
        ) from exc
