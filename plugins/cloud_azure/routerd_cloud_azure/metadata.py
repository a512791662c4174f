"""The identity of this VM, from the Instance Metadata Service."""

import json

import attrs

from routerd.errors import PermanentError
from routerd.spi.cloud.metadata import MetadataService

BASE = "http://169.254.169.254"
_QUERY = "/metadata/instance?api-version=2021-02-01"
_DEADLINE = 15.0

_SERVICE = MetadataService(
    cloud="azure",
    refused="check that this is an Azure VM",
    absent="outside Azure set subscriptionID, instanceID and networkInterfaces",
    busy=frozenset({410, 429}),
)


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
    answer = await _SERVICE.answer(
        base, lambda: _SERVICE.ask(f"{base}{_QUERY}", {"Metadata": "true"}), seconds=_DEADLINE
    )
    try:
        compute = json.loads(answer)["compute"]
        return Identity(
            instance=str(compute["resourceId"]),
            subscription=str(compute["subscriptionId"]),
            group=str(compute["resourceGroupName"]),
        )
    except (ValueError, KeyError, TypeError) as exc:
        raise PermanentError(f"azure metadata {base}: the answer does not describe an Azure VM") from exc
