"""The identity of this instance, from the metadata service v2."""

import json

import attrs

from routerd.errors import PermanentError
from routerd.spi.cloud.metadata import MetadataService

BASE = "http://169.254.169.254/opc/v2"
_DEADLINE = 30.0

# Without this header version 2 answers 404; that keeps web pages in a browser from reading it.
_HEADERS = {"Authorization": "Bearer Oracle"}

_SERVICE = MetadataService(
    cloud="oci",
    refused="check that this is an OCI instance",
    absent="outside OCI set auth, region and vnics",
)


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
    instance, vnics = await _SERVICE.answer(base, lambda: _fetch(base), seconds=_DEADLINE)
    if not isinstance(instance, dict) or not isinstance(vnics, list):
        raise PermanentError(f"oci metadata {base}: the answer does not have the shape of an OCI instance")
    found = tuple(str(each["vnicId"]) for each in vnics if isinstance(each, dict) and "vnicId" in each)
    region = str(instance.get("canonicalRegionName") or instance.get("region") or "")
    if not instance.get("id") or not region or not found:
        raise PermanentError(f"oci metadata {base}: id, region or VNICs are missing; set region and vnics")
    return Identity(instance=str(instance["id"]), region=region, vnics=found)


def _fetch(base: str) -> tuple[object, object]:
    """Return what the service says of the instance and of its VNICs, nothing where that is not JSON."""
    answers = [_SERVICE.ask(f"{base}/{path}/", _HEADERS) for path in ("instance", "vnics")]
    try:
        instance, vnics = map(json.loads, answers)
    except ValueError:
        return None, None
    return instance, vnics
