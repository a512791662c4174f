"""An emulated region under its real names, and a fabric on the unmodified SDK in it."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from tests.support.loopback import Api, metadata, on_loopback

from routerd.spi import PluginContext
from routerd.testing.context import make_context
from routerd_cloud_oci.config import OciOptions
from routerd_cloud_oci.plugin import OciFabric
from routerd_lab.clouds.oci import Instance, OciRegion


class SteppingClock:
    """A clock whose sleeps end at once; the tests wait for nothing."""

    def now(self) -> dt.datetime:
        return dt.datetime(2026, 1, 1, tzinfo=dt.UTC)

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[OciRegion]:
    """Run a region and the metadata service of `oci-leaf`."""
    region = OciRegion(
        network=IPv4Network("10.83.0.0/16"),
        subnet=IPv4Network("10.83.10.0/24"),
        instances=(
            Instance(name="oci-leaf", address=IPv4Address("10.83.10.10")),
            Instance(name="oci-leaf-2", address=IPv4Address("10.83.10.11")),
            Instance(name="oci-client", address=IPv4Address("10.83.10.20")),
        ),
    )
    served = (
        Api(app=region.app(), names=region.hostnames),
        metadata(region.metadata("oci-leaf")),
    )
    tls = tmp_path / "tls"
    tls.mkdir()
    async with on_loopback(tls, *served):
        yield region


@pytest.fixture
def context(tmp_path: Path) -> PluginContext:
    return make_context(tmp_path, plugin="cloud_oci", clock=SteppingClock())


@pytest.fixture
async def fabric(region: OciRegion, context: PluginContext) -> AsyncIterator[OciFabric]:
    """A started fabric on instance principals."""
    fabric = OciFabric(context, OciOptions())
    await fabric.start()
    yield fabric
    await fabric.aclose()
