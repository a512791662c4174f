"""The plugin cloud_oci passes the suites of a fabric that shares its site, foresees and diagnoses."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import Any

import pytest

from routerd.model.fabric import FabricRoute, FabricRouteKey, Forwarding, NicRef, RouteTableRef
from routerd.spi import Fabric, Provider
from routerd.testing.contracts import (
    DiagnosisRules,
    Foreign,
    Quota,
    QuotaRules,
    Samples,
    SharedFabricContract,
    SiteWorld,
)
from routerd_cloud_oci.config import OciOptions
from routerd_cloud_oci.plugin import routerd_fabrics
from routerd_lab.clouds.oci import OciRegion, ocid

pytestmark = pytest.mark.cloud

REMOTE = [IPv4Network(text) for text in ("10.81.10.20/32", "10.82.10.20/32", "10.99.9.10/32")]
LIMIT = 9


def key(region: OciRegion, prefix: IPv4Network) -> FabricRouteKey:
    return FabricRouteKey(table=RouteTableRef(region.inventory.route_table), prefix=prefix)


def rules(region: OciRegion) -> list[dict[str, Any]]:
    return region.inventory.route_tables[region.inventory.route_table].body["routeRules"]


class TestContract(SharedFabricContract, QuotaRules, DiagnosisRules):
    """The suites."""

    @pytest.fixture
    def provider(self, region: OciRegion) -> Provider[Fabric]:
        return routerd_fabrics()[0]

    @pytest.fixture
    def options(self) -> OciOptions:
        return OciOptions(route_rules_limit=LIMIT)

    @pytest.fixture
    def samples(self, region: OciRegion) -> Mapping[str, Samples[Any, Any]]:
        vnic = NicRef(ocid("vnic", "oci-leaf", region.region))
        route = FabricRoute(next_hop=ocid("privateip", "oci-leaf", region.region))

        async def place() -> None:
            region.inventory.add_rule(str(REMOTE[2]), region.inventory.internet_gateway)

        async def read() -> object:
            return [dict(rule) for rule in rules(region) if rule.get("destination") == str(REMOTE[2])]

        return {
            "forwarding": Samples(
                values={vnic: Forwarding(enabled=True)},
                replacement={vnic: Forwarding(enabled=False)},
                refused={
                    NicRef(ocid("vnic", "oci-client", region.region)): Forwarding(enabled=True),
                },
            ),
            "routes": Samples(
                values={key(region, prefix): route for prefix in REMOTE[:2]},
                refused={key(region, IPv4Network("10.83.77.1/32")): route},
                foreign=Foreign(key=key(region, REMOTE[2]), value=route, place=place, read=read),
            ),
        }

    @pytest.fixture
    def site(self, region: OciRegion) -> SiteWorld:
        async def place(at: FabricRouteKey, next_hop: str | None) -> None:
            held = rules(region)
            held[:] = [each for each in held if each["destination"] != str(at.prefix)]
            if next_hop is not None:
                region.inventory.add_rule(str(at.prefix), next_hop)

        async def read(at: FabricRouteKey) -> str | None:
            found = [each for each in rules(region) if each["destination"] == str(at.prefix)]
            return str(found[0]["networkEntityId"]) if found else None

        first, second = (ocid("privateip", name, region.region) for name in ("oci-leaf-2", "oci-client"))
        stranger = region.inventory.internet_gateway
        return SiteWorld(others=(first, second), stranger=stranger, place=place, read=read)

    @pytest.fixture
    def quota(self, region: OciRegion) -> Quota:
        async def leave(free: int) -> None:
            for number in range(LIMIT - free - len(rules(region))):
                region.inventory.add_rule(f"172.16.0.{number}/32", region.inventory.internet_gateway)

        return Quota(limit=LIMIT, leave=leave)
