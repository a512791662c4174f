"""The four cloud plugins as wholes: their hooks, and their options as a file writes them.

What is said here once holds for each cloud; how a cloud works is in the tests of its plugin.
"""

from __future__ import annotations

import re
from importlib import metadata
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml
from tests.unit.cli.command_line import routerd

from routerd import config
from routerd.config.structure import structure_options
from routerd.model import specs
from routerd.spi import ENTRY_POINT_GROUP
from routerd.testing.contracts import PluginContract
from routerd_cloud_aws.config import AwsOptions
from routerd_cloud_azure.config import AzureOptions
from routerd_cloud_oci.config import OciOptions
from routerd_cloud_pve.config import Guest, PveOptions

ROOT = Path(__file__).parents[2]
AZURE = "/subscriptions/1/resourceGroups/g/providers"
VM = f"{AZURE}/Microsoft.Compute/virtualMachines/vm"
NIC = f"{AZURE}/Microsoft.Network/networkInterfaces/n"
AZURE_TABLE = f"{AZURE}/Microsoft.Network/routeTables/t"


@attrs.frozen
class Cloud:
    """A cloud: its options at the least, all of them as text and as a value, and what is refused."""

    kind: str
    least: str
    text: str
    value: Any
    refused: tuple[tuple[str, str], ...]

    @property
    def plugin(self) -> str:
        return f"cloud_{self.kind}"

    def read(self, text: str) -> tuple[Any, list[str]]:
        """Return the options in a text, and what is wrong with it."""
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        value, problems = structure_options(node, type(self.value), file="f", resource="r", path="options")
        return value, [str(problem) for problem in problems]

    def readme(self) -> str:
        return (ROOT / "plugins" / self.plugin / "README.md").read_text()


AWS = Cloud(
    "aws",
    "{}",
    "{region: r, instanceID: i-1, networkInterfaces: [eni-1], routeTables: [rtb-1], routeQuota: 7}",
    AwsOptions(
        region="r",
        instance_id="i-1",
        network_interfaces=("eni-1",),
        route_tables=("rtb-1",),
        route_quota=7,
    ),
    (
        ("{instanceID: eni-1}", "instanceID"),
        ("{networkInterfaces: [i-1]}", "networkInterfaces"),
        ("{routeTables: [eni-1]}", "routeTables"),
        ("{routeQuota: 0}", "routeQuota"),
    ),
)
CLOUDS = (
    AWS,
    Cloud(
        "azure",
        "{}",
        f"{{subscriptionID: s, resourceGroup: g, instanceID: {VM}, networkInterfaces: [{NIC}],"
        f" routeTables: [{AZURE_TABLE}], routesPerRouteTable: 9, clientID: c}}",
        AzureOptions(
            subscription_id="s",
            resource_group="g",
            instance_id=VM,
            network_interfaces=(NIC,),
            route_tables=(AZURE_TABLE,),
            routes_per_route_table=9,
            client_id="c",
        ),
        (
            (f"{{instanceID: {NIC}}}", "instanceID"),
            (f"{{networkInterfaces: [{VM}]}}", "networkInterfaces"),
            (f"{{routeTables: [{NIC}]}}", "routeTables"),
            ("{routesPerRouteTable: -1}", "routes_per_route_table"),
        ),
    ),
    Cloud(
        "oci",
        "{}",
        "{auth: config_file, configFile: /etc/oci, profile: P, region: eu-zurich-1,"
        " vnics: [ocid1.vnic.oc1..a], routeTables: [ocid1.routetable.oc1..b], routeRulesLimit: 500}",
        OciOptions(
            auth="config_file",
            config_file=Path("/etc/oci"),
            profile="P",
            region="eu-zurich-1",
            vnics=("ocid1.vnic.oc1..a",),
            route_tables=("ocid1.routetable.oc1..b",),
            route_rules_limit=500,
        ),
        (
            ("{routeTables: [ocid1.vnic.oc1..a]}", "routeTables"),
            ("{vnics: [ocid1.routetable.oc1..a]}", "vnics"),
            ("{routeRulesLimit: 0}", "routeRulesLimit: 0"),
        ),
    ),
    Cloud(
        "pve",
        "{host: h, tokenFile: /t, gateway: 10.0.0.1}",
        "{host: h, tokenFile: /t, gateway: 10.0.0.1, port: 443, caFile: /c, vmid: 7, guests: [{vmid: 8}]}",
        PveOptions(
            host="h",
            token_file=Path("/t"),
            gateway=IPv4Address("10.0.0.1"),
            port=443,
            ca_file=Path("/c"),
            vmid=7,
            guests=(Guest(vmid=8),),
        ),
        (
            ("{host: 'root@h', tokenFile: /t, gateway: 10.0.0.1}", "is not a host name"),
            ("{host: 'https://h', tokenFile: /t, gateway: 10.0.0.1}", "is not a host name"),
            ("{host: '', tokenFile: /t, gateway: 10.0.0.1}", "is not a host name"),
            ("{host: h, tokenFile: /t, gateway: 10.0.0.1, port: 0}", "port: 0"),
        ),
    ),
)
each_cloud = pytest.mark.parametrize("cloud", CLOUDS, ids=lambda each: each.kind)


@each_cloud
class TestPlugin(PluginContract):
    """The suite that every plugin passes."""

    @pytest.fixture
    def entry_point(self, cloud: Cloud) -> metadata.EntryPoint:
        (found,) = metadata.entry_points(group=ENTRY_POINT_GROUP, name=cloud.plugin)
        return found


def test_every_cloud_that_is_in_the_tree_is_tested() -> None:
    assert sorted(path.name for path in (ROOT / "plugins").glob("cloud_*")) == [
        each.plugin for each in CLOUDS
    ]


@each_cloud
def test_all_options_can_be_written_in_a_file(cloud: Cloud) -> None:
    assert cloud.read(cloud.text) == (cloud.value, [])
    assert len(yaml.safe_load(cloud.text)) == len(attrs.fields(type(cloud.value))), (
        "the text has every option"
    )


@each_cloud
def test_every_option_is_in_the_readme(cloud: Cloud) -> None:
    section = cloud.readme().split("## Options")[1].split("\n## ")[0]
    assert [name for name in yaml.safe_load(cloud.text) if not re.search(rf"\b{name}\b", section)] == []


@pytest.mark.parametrize(
    ("cloud", "text", "word"),
    [(cloud, text, word) for cloud in CLOUDS for text, word in cloud.refused],
    ids=lambda each: each.kind if isinstance(each, Cloud) else None,
)
def test_a_value_of_another_kind_is_refused_by_the_name_of_its_option(
    cloud: Cloud, text: str, word: str
) -> None:
    value, problems = cloud.read(text)
    assert value is None
    assert word in "\n".join(problems)


@each_cloud
def test_a_misspelt_option_is_named(cloud: Cloud) -> None:
    _, problems = cloud.read(cloud.least.replace("}", ", regoin: x}").replace("{, ", "{"))
    assert any("regoin" in problem for problem in problems)


@pytest.mark.parametrize("cloud", [each for each in CLOUDS if each.kind != "pve"], ids=lambda each: each.kind)
def test_an_empty_list_of_route_tables_is_not_the_default(cloud: Cloud) -> None:
    assert cloud.read("{}")[0].route_tables is None
    assert cloud.read("{routeTables: []}")[0].route_tables == ()


@each_cloud
def test_the_ready_file_of_a_leaf_is_valid_and_changes_no_account(cloud: Cloud) -> None:
    path = ROOT / "examples" / "clouds" / f"leaf-{cloud.kind}.yaml"
    done = routerd("validate", "--config", path)
    assert (done.status, done.err) == (0, "")
    (profile,) = config.load(path).of(specs.CloudProviderProfileSpec)
    # A person switches on what changes an account; an example does not.
    assert (profile.spec.provider, profile.spec.mode) == (cloud.kind, "plan")
