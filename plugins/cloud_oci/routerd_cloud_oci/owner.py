"""What the tables need of the fabric that they belong to."""

from __future__ import annotations

from typing import Protocol

from routerd.model.fabric import InstanceFacts
from routerd_cloud_oci.api import Api

ATTEMPTS = 5
"""How often a read-merge-write is tried again when somebody else writes in between."""


class Owner(Protocol):
    """The fabric."""

    @property
    def api(self) -> Api:
        """Return the API; `TransientError` before `start`."""
        ...

    @property
    def known(self) -> InstanceFacts | None:
        """Return what `facts` last found, without asking."""
        ...

    @property
    def others(self) -> frozenset[str]:
        """Return the OCIDs of the private IPs of the site's other routers."""
        ...

    @property
    def limit(self) -> int:
        """Return how many rules a route table may hold."""
        ...

    async def facts(self) -> InstanceFacts:
        """Return who we are."""
        ...

    async def pause(self, seconds: float) -> None:
        """Wait on the core's clock."""
        ...

    def refuse_dry_run(self) -> None:
        """Raise `TransientError` when nothing may be changed."""
        ...

    def log(self, event: str, **facts: object) -> None:
        """Log a change that was made."""
        ...
