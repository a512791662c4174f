"""The identity of this instance, from the metadata service (IMDSv2): plain HTTP, no SDK."""

import asyncio
import json
import urllib.error
import urllib.request
from datetime import timedelta

import attrs

from routerd.errors import PermanentError, TransientError

BASE = "http://169.254.169.254"
_SECONDS = 5.0
_DEADLINE = 30.0
_LATER = timedelta(seconds=5)


@attrs.frozen(kw_only=True)
class Identity:
    """Our account, instance and interfaces as the metadata service says, the primary interface first."""

    account: str
    instance: str
    region: str
    interfaces: tuple[str, ...]


async def identify(base: str = BASE) -> Identity:
    """Return who we are.

    Raises `TransientError` when the service does not answer, `PermanentError` when it refuses or its
    answer cannot be read (Amazon EC2 User Guide, "Instance metadata categories").
    """
    try:
        async with asyncio.timeout(_DEADLINE):
            return await asyncio.to_thread(_identify, base)
    except TimeoutError as exc:
        raise TransientError(
            f"aws metadata {base}: no answer within {_DEADLINE:.0f} s", retry_after=_LATER
        ) from exc


def _identify(base: str) -> Identity:
    token = _ask(f"{base}/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, "PUT")
    headers = {"X-aws-ec2-metadata-token": token}
    url = f"{base}/latest/dynamic/instance-identity/document"
    try:
        document = json.loads(_ask(url, headers))
        account, instance, region = (str(document[key]) for key in ("accountId", "instanceId", "region"))
    except (ValueError, KeyError, TypeError) as exc:
        raise PermanentError(f"aws metadata {url}: the answer is not an instance identity document") from exc
    macs = f"{base}/latest/meta-data/network/interfaces/macs/"
    found: list[tuple[int, str]] = []
    for line in _ask(macs, headers).split():
        mac = line.rstrip("/")
        number = _ask(f"{macs}{mac}/device-number", headers)
        found.append((int(number) if number.isdigit() else 99, _ask(f"{macs}{mac}/interface-id", headers)))
    interfaces = tuple(ref for _, ref in sorted(found))
    return Identity(account=account, instance=instance, region=region, interfaces=interfaces)


def _ask(url: str, headers: dict[str, str], method: str = "GET") -> str:
    """Return the text at `url`; blocks for at most a few seconds."""
    request = urllib.request.Request(url, headers=headers, method=method)  # noqa: S310 - http by contract
    # The metadata service is on the link; a proxy of the environment must never see the request.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_SECONDS) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as exc:
        with exc:
            kind = TransientError if exc.code == 429 or exc.code >= 500 else PermanentError
            raise kind(
                f"aws metadata {url}: answered {exc.code}; check that the instance's metadata service is on"
            ) from exc
    except (OSError, ValueError) as exc:
        raise TransientError(
            f"aws metadata {url}: no usable answer, {exc}; "
            "outside EC2 set region, instanceID and networkInterfaces",
            retry_after=_LATER,
        ) from exc
