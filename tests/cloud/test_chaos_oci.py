"""OCI in a storm: the end is right, nothing foreign is touched, the journal tells the story.

`STORM_EXAMPLES=400 STORM_STEPS=60` in the environment make the long run.
"""

from __future__ import annotations

import pytest
from tests.cloud.account_oci import OciAccount
from tests.cloud.chaos_machine import STORM, Chaos

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(3600)]


class OciChaos(Chaos):
    account = OciAccount


TestOciChaos = OciChaos.TestCase
TestOciChaos.settings = STORM
