"""The peer of the clouds' measurements: a script on the official SDK that makes one route after the other."""

from __future__ import annotations

import json
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import attrs
from tests.cloud.account import Account
from tests.cloud.storm_time import WatchedLoop
from tests.support.loopback import METADATA, on_loopback

_FIRST = IPv4Address("10.140.0.0")
_POLL = 0.05

Script = Callable[[Account, Path, Sequence[IPv4Network]], None]


@attrs.frozen(kw_only=True)
class ByHand:
    """Calls of the API and seconds that the script took."""

    calls: int
    seconds: float


def measured(account: Account, directory: Path, size: int) -> ByHand:
    """Let the script make `size` routes."""
    prefixes = [IPv4Network((_FIRST + number, 32)) for number in range(size)]

    async def work() -> ByHand:
        for name, text in account.files.items():
            (directory / name).write_text(text)
        async with on_loopback(directory, *account.apis()):
            before, began = len(account.troubles.calls), time.perf_counter()
            await loop.run_in_executor(None, _SCRIPTS[account.provider], account, directory, prefixes)
            calls = Counter(account.troubles.calls[before:])
            return ByHand(calls=calls.total(), seconds=time.perf_counter() - began)

    loop = WatchedLoop()
    try:
        return loop.run_until_complete(work())
    finally:
        loop.threads.shutdown()
        loop.close()


def _aws(account: Account, _: Path, prefixes: Sequence[IPv4Network]) -> None:
    import boto3

    ec2 = boto3.session.Session().client("ec2", region_name="ap-northeast-1")
    found = ec2.describe_network_interfaces()["NetworkInterfaces"]
    interface = next(each for each in found if each["PrivateIpAddress"] == "10.81.10.10")
    for prefix in prefixes:
        ec2.create_route(
            RouteTableId=account.tables[0],
            DestinationCidrBlock=str(prefix),
            NetworkInterfaceId=interface["NetworkInterfaceId"],
        )
    ec2.close()


def _azure(account: Account, _: Path, prefixes: Sequence[IPv4Network]) -> None:
    from azure.identity import ManagedIdentityCredential
    from azure.mgmt.network import NetworkManagementClient

    parts = account.tables[0].split("/")
    with ManagedIdentityCredential() as credential, NetworkManagementClient(credential, parts[2]) as network:
        for number, prefix in enumerate(prefixes):
            route = {
                "addressPrefix": str(prefix),
                "nextHopType": "VirtualAppliance",
                "nextHopIpAddress": "10.82.10.10",
            }
            network.routes.begin_create_or_update(
                parts[4], parts[8], f"route-{number}", {"properties": route}, polling_interval=_POLL
            ).result()


def _oci(account: Account, _: Path, prefixes: Sequence[IPv4Network]) -> None:
    import oci

    signer = oci.auth.signers.InstancePrincipalsSecurityTokenSigner()
    network = oci.core.VirtualNetworkClient({"region": signer.region}, signer=signer)
    # The metadata service names the VNIC, the API its address.
    with urllib.request.urlopen(_vnics()) as answer:
        (vnic,) = json.load(answer)
    hop = network.list_private_ips(vnic_id=vnic["vnicId"]).data[0].id
    for prefix in prefixes:
        table = network.get_route_table(account.tables[0])
        rule = oci.core.models.RouteRule(
            destination=str(prefix), destination_type="CIDR_BLOCK", network_entity_id=hop
        )
        details = oci.core.models.UpdateRouteTableDetails(route_rules=[*table.data.route_rules, rule])
        network.update_route_table(account.tables[0], details, if_match=table.headers["etag"])


def _pve(account: Account, directory: Path, prefixes: Sequence[IPv4Network]) -> None:
    from proxmoxer import ProxmoxAPI

    user, _, rest = account.files["token"].strip().partition("!")
    name, _, value = rest.partition("=")
    host = ProxmoxAPI(
        "pve.example", user=user, token_name=name, token_value=value, verify_ssl=str(directory / "ca.pem")
    )
    nodes = {f"qemu/{each['vmid']}": each["node"] for each in host.cluster.resources.get(type="vm")}
    for table in account.tables:
        agent: Any = host.nodes(nodes[table]).qemu(table.removeprefix("qemu/")).agent
        for prefix in prefixes:
            command = ["ip", "route", "add", str(prefix), "via", "10.99.9.1", "proto", "147"]
            started = agent("exec").post(command=command)
            while not agent("exec-status").get(pid=started["pid"])["exited"]:
                time.sleep(_POLL)


def _vnics() -> urllib.request.Request:
    url = f"http://{METADATA}/opc/v2/vnics/"
    return urllib.request.Request(url, headers={"Authorization": "Bearer Oracle"})


_SCRIPTS: dict[str, Script] = {"aws": _aws, "azure": _azure, "oci": _oci, "pve": _pve}
