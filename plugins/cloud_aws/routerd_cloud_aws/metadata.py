"""The identity of this instance, from the metadata service (IMDSv2)."""

import json

import attrs

from routerd.errors import PermanentError
from routerd.spi.cloud.metadata import MetadataService

BASE = "http://169.254.169.254"
_DEADLINE = 30.0

_SERVICE = MetadataService(
    cloud="aws",
    refused="check that the instance's metadata service is on",
    absent="outside EC2 set region, instanceID and networkInterfaces",
)


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
    return await _SERVICE.answer(base, lambda: _identify(base), seconds=_DEADLINE)


def _identify(base: str) -> Identity:
    ask = _SERVICE.ask
    token = ask(f"{base}/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, "PUT")
    headers = {"X-aws-ec2-metadata-token": token}
    url = f"{base}/latest/dynamic/instance-identity/document"
    try:
        document = json.loads(ask(url, headers))
        account, instance, region = (str(document[key]) for key in ("accountId", "instanceId", "region"))
    except (ValueError, KeyError, TypeError) as exc:
        raise PermanentError(f"aws metadata {url}: the answer is not an instance identity document") from exc
    macs = f"{base}/latest/meta-data/network/interfaces/macs/"
    found: list[tuple[int, str]] = []
    for line in ask(macs, headers).split():
        mac = line.rstrip("/")
        number = ask(f"{macs}{mac}/device-number", headers)
        found.append((int(number) if number.isdigit() else 99, ask(f"{macs}{mac}/interface-id", headers)))
    interfaces = tuple(ref for _, ref in sorted(found))
    return Identity(account=account, instance=instance, region=region, interfaces=interfaces)
