"""Resources of an emulated OCI region, and the refusals of its API."""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from ipaddress import IPv4Network, ip_network
from typing import Any

import attrs

from routerd_lab.clouds.state import Failure

REALM = "oc1"
Json = dict[str, Any]  # Any: JSON of the API, whose fields the emulator mostly passes on


def ocid(kind: str, name: str, region: str = "") -> str:
    """Return a stable OCID of the real length for a name."""
    unique = base64.b32encode(hashlib.sha256(f"{kind}/{name}".encode()).digest()).decode().lower().rstrip("=")
    return f"ocid1.{kind}.{REALM}.{region}.aaaaaaaa{unique}"


class ApiError(Exception):
    """An answer of the API with an error status and its `code`."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.failure = Failure(status=status, code=code, message=message)
        super().__init__(f"{status} {code}: {message}")


def not_found() -> ApiError:
    """Return the one answer for a missing resource and for a missing permission."""
    return ApiError(404, "NotAuthorizedOrNotFound", "Authorization failed or requested resource not found.")


@attrs.define
class Record:
    """A resource: its JSON and the version that its ETag names."""

    body: Json
    etag: str = attrs.field(factory=lambda: secrets.token_hex(16))

    def touch(self) -> None:
        """Give the resource a new ETag."""
        self.etag = secrets.token_hex(16)


def destination(rule: Mapping[str, Any]) -> IPv4Network | None:
    """Return a route rule's IPv4 destination, or none."""
    try:
        network = ip_network(rule.get("destination") or rule.get("cidrBlock") or "")
    except ValueError:
        return None
    return network if isinstance(network, IPv4Network) else None
