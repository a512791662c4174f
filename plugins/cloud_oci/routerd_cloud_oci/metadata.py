"""The identity of this instance, from the metadata service v2; plain HTTP on a link-local address."""

import asyncio
import json
import urllib.error
import urllib.request
from datetime import timedelta

import attrs

from routerd.errors import PermanentError, TransientError

BASE = "http://169.254.169.254/opc/v2"
_SECONDS = 5.0
_DEADLINE = 30.0
_LATER = timedelta(seconds=5)


@attrs.frozen(kw_only=True)
class Identity:
    """The OCIDs of the instance and its VNICs, the primary one first, and the region."""

    instance: str
    region: str
    vnics: tuple[str, ...]


async def identify(base: str = BASE) -> Identity:
    """Return the identity of this instance.

    Raises `TransientError` when the service does not answer, and `PermanentError` when it refuses or
    answers in another shape (IMDSv2 documentation, "Getting Instance Metadata").
    """
    try:
        async with asyncio.timeout(_DEADLINE):
            instance, vnics = await asyncio.gather(
                asyncio.to_thread(_fetch, f"{base}/instance/"), asyncio.to_thread(_fetch, f"{base}/vnics/")
            )
    except TimeoutError as exc:
        raise TransientError(
            f"oci metadata {base}: no answer within {_DEADLINE:.0f} s", retry_after=_LATER
        ) from exc
    if not isinstance(instance, dict) or not isinstance(vnics, list):
        raise PermanentError(f"oci metadata {base}: the answer does not have the shape of an OCI instance")
    found = tuple(str(each["vnicId"]) for each in vnics if isinstance(each, dict) and "vnicId" in each)
    region = str(instance.get("canonicalRegionName") or instance.get("region") or "")
    if not instance.get("id") or not region or not found:
        raise PermanentError(f"oci metadata {base}: id, region or VNICs are missing; set region and vnics")
    return Identity(instance=str(instance["id"]), region=region, vnics=found)


def _fetch(url: str) -> object:
    """Return the JSON at `url`; blocks for at most a few seconds."""
    # Without this header version 2 answers 404; that keeps web pages in a browser from reading it.
    request = urllib.request.Request(url, headers={"Authorization": "Bearer Oracle"})  # noqa: S310 - http by contract
    # The metadata service is on the link, so a proxy of the environment must not see the request.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_SECONDS) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as exc:
        with exc:
            kind = TransientError if exc.code == 429 or exc.code >= 500 else PermanentError
            raise kind(
                f"oci metadata {url}: the service answered {exc.code}; check that this is an OCI instance"
            ) from exc
    except (OSError, ValueError) as exc:
        raise TransientError(
            f"oci metadata {url}: no usable answer; {exc}; outside OCI set auth, region and vnics",
            retry_after=_LATER,
        ) from exc
