"""The emulated subscription and a fabric on it, for every test of the plugin."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from plugins.cloud_azure.tests.azure_world import serving

from routerd.testing.context import make_context
from routerd_cloud_azure.config import AzureOptions
from routerd_cloud_azure.plugin import AzureFabric
from routerd_lab.clouds.azure import AzureSubscription


@pytest.fixture
async def cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[AzureSubscription]:
    """A subscription and the metadata service of `azure-leaf`."""
    async with serving(monkeypatch, tmp_path) as cloud:
        yield cloud


@pytest.fixture
async def fabric(cloud: AzureSubscription, tmp_path: Path) -> AsyncIterator[AzureFabric]:
    """A started fabric on the credentials of the instance's role."""
    fabric = AzureFabric(make_context(tmp_path), AzureOptions())
    await fabric.start()
    yield fabric
    await fabric.aclose()
