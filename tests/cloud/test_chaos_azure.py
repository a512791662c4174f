"""Azure in a storm: the end is right, nothing foreign is touched, the journal tells the story.

`STORM_EXAMPLES=400 STORM_STEPS=60` in the environment make the long run.
"""

from __future__ import annotations

import pytest
from tests.cloud.account_azure import AzureAccount
from tests.cloud.chaos_machine import STORM, Chaos

from routerd_cloud_azure import client

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(3600)]


class AzureChaos(Chaos):
    account = AzureAccount


TestAzureChaos = AzureChaos.TestCase
TestAzureChaos.settings = STORM


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask after an operation more often than one would of the real cloud."""
    monkeypatch.setattr(client, "POLL_SECONDS", 0.01)
