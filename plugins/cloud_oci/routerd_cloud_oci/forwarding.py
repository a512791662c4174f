"""The table `forwarding`: `skipSourceDestCheck` of our own VNICs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from routerd.errors import NotOwnedError, ProviderError
from routerd.model.change import Change
from routerd.model.fabric import Forwarding, NicRef
from routerd_cloud_oci.faults import StaleError
from routerd_cloud_oci.owner import ATTEMPTS, Owner


class ForwardingTable:
    """One read for each VNIC to observe; a read and a write to change one."""

    def __init__(self, fabric: Owner) -> None:
        self._fabric = fabric

    async def observe(self) -> Mapping[NicRef, Forwarding]:
        """Return the switch of each of our VNICs."""
        facts = await self._fabric.facts()
        return {
            nic.ref: Forwarding(enabled=(await self._fabric.api.vnic(nic.ref)).forwarding)
            for nic in facts.nics
        }

    async def apply(self, changes: Sequence[Change[NicRef, Forwarding]]) -> Mapping[NicRef, ProviderError]:
        """Set switches, each under the ETag of a fresh read."""
        failures: dict[NicRef, ProviderError] = {}
        for change in changes:
            # The switch cannot be deleted, only set; a deletion leaves it alone.
            if change.after is None:
                continue
            try:
                await self._set(change.key, change.after.enabled)
            except ProviderError as error:
                failures[change.key] = error
        return failures

    async def _set(self, nic: NicRef, enabled: bool) -> None:
        self._fabric.refuse_dry_run()
        if nic not in {each.ref for each in (await self._fabric.facts()).nics}:
            raise NotOwnedError(f"oci VNIC {nic}: does not belong to this instance")
        for attempt in range(ATTEMPTS):
            present = await self._fabric.api.vnic(nic)
            if present.forwarding == enabled:
                return
            try:
                await self._fabric.api.set_forwarding(nic, enabled, present.etag)
            except StaleError:
                if attempt == ATTEMPTS - 1:
                    raise
            else:
                self._fabric.log("oci.forwarding.set", vnic=nic, enabled=enabled)
                return
