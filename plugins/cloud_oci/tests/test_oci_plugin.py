"""The plugin cloud_oci as a whole: its hooks, and its options."""

from __future__ import annotations

import pytest

from routerd.testing.contracts import PluginContract
from routerd_cloud_oci.config import OciOptions


class TestPlugin(PluginContract):
    """The suite that every plugin passes."""

    name = "cloud_oci"


def test_an_identifier_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="routeTables"):
        OciOptions(route_tables=("ocid1.vnic.oc1..a",))
