"""The plugin cloud_azure as a whole: its hooks, and its options as a file writes them."""

from __future__ import annotations

import pytest
import yaml

from routerd.config.structure import structure_options
from routerd.testing.contracts import PluginContract
from routerd_cloud_azure.config import AzureOptions

INSTANCE = "/subscriptions/1/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm"


class TestPlugin(PluginContract):
    """The suite that every plugin passes."""

    name = "cloud_azure"


def read(text: str) -> AzureOptions:
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    value, problems = structure_options(node, AzureOptions, file="f", resource="r", path="spec.options")
    assert problems == []
    assert value is not None
    return value


def test_an_empty_list_of_route_tables_is_not_the_default() -> None:
    assert read("{}").route_tables is None
    assert read("routeTables: []").route_tables == ()


def test_identifiers_are_written_with_capital_letters() -> None:
    assert read(f"instanceID: {INSTANCE}").instance_id == INSTANCE


def test_an_identifier_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="networkInterfaces"):
        AzureOptions(network_interfaces=(INSTANCE,))
