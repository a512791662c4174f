"""What `routerd doctor cloud` says of a Proxmox VE host: which privilege, and what in which guest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path

import attrs
import pytest
from plugins.cloud_pve.tests.pve_world import TOKEN, Home, options, started

from routerd.errors import PermanentError, TransientError
from routerd.model.fabric import Finding
from routerd_cloud_pve.config import Guest as GuestOptions
from routerd_cloud_pve.limits import AGENT, AGENT_BEFORE_9, AUDIT, NETWORK
from routerd_cloud_pve.plugin import PveFabric
from routerd_lab.clouds.pve import MONITOR
from routerd_lab.clouds.pve_guest import Ended

pytestmark = pytest.mark.cloud

ROOT = Path(__file__).parents[3]


def by_state(findings: Sequence[Finding], state: str) -> dict[str, Finding]:
    return {each.subject: each for each in findings if each.state == state}


async def test_all_is_well_with_the_least_that_the_page_asks_for(fabric: PveFabric, home: Home) -> None:
    findings = await fabric.diagnose()
    assert [each.subject for each in findings if each.state == "ok"] == [
        "VM.Audit on /vms/101",
        "VM.GuestAgent.Unrestricted on /vms/101",
        "guest agent of guest 101",
        "guest-exec in guest 101",
        "iproute2 in guest 101",
        "way to 10.99.9.1 in guest 101",
        "VM.Audit on /vms/100",
        "VM.Config.Network on /vms/100",
        "IP filter of guest 100",
    ]
    assert len(findings) == 9
    assert findings[-1].detail == "on; routerd switches it off"
    writes = {call for call in home.host.troubles.calls if not call.startswith("GET ")}
    assert writes == {"POST exec"}
    assert {"-batch" in command for command in home.client.commands} == {False}


@pytest.mark.parametrize(("vmid", "privilege"), [(100, AUDIT), (100, NETWORK), (101, AUDIT), (101, AGENT)])
async def test_a_missing_privilege_is_named_with_its_path(
    fabric: PveFabric, home: Home, vmid: int, privilege: str
) -> None:
    assert home.host.privileges is not None
    home.host.privileges[vmid] = home.host.privileges[vmid] - {privilege}
    (missing,) = by_state(await fabric.diagnose(), "missing").values()
    assert missing.subject == f"{privilege} on /vms/{vmid}"
    assert missing.detail.startswith("the token has VM.")
    assert f"a role with {privilege} there: pveum acl modify /vms/{vmid}" in missing.remedy


async def test_version_8_has_another_name_for_it(fabric: PveFabric, home: Home) -> None:
    home.host.version = "8.4.1"
    missing = by_state(await fabric.diagnose(), "missing")
    assert set(missing) == {"VM.Monitor on /vms/101"}
    home.host.privileges = {100: frozenset({AUDIT, NETWORK}), 101: frozenset({AUDIT, MONITOR})}
    assert by_state(await fabric.diagnose(), "missing") == {}


async def test_a_token_without_any_role_is_told_so(fabric: PveFabric, home: Home) -> None:
    home.host.privileges = {}
    missing = by_state(await fabric.diagnose(), "missing")
    assert len(missing) == 4
    assert {each.detail for each in missing.values()} == {"the token has no privilege there"}


@pytest.mark.parametrize(
    ("what", "subject", "words"),
    [
        ("stopped", "guest agent of guest 101", "start the guest"),
        ("agent", "guest agent of guest 101", "install and start qemu-guest-agent in the guest"),
        ("unconfigured", "guest agent of guest 101", "qm set VMID --agent enabled=1"),
        ("blocked", "guest-exec in guest 101", "block-rpcs"),
        ("iproute2", "iproute2 in guest 101", "install iproute2 in the guest"),
        ("garbage", "iproute2 in guest 101", "install iproute2 4.16 or later"),
    ],
)
async def test_what_is_wrong_in_a_guest_is_one_finding(
    fabric: PveFabric, home: Home, what: str, subject: str, words: str
) -> None:
    member = home.host.guests[101]
    member.running, member.agent = what != "stopped", what != "agent"
    member.configured = what != "unconfigured"
    member.blocked = frozenset({"guest-exec"} if what == "blocked" else ())
    home.client.installed = what != "iproute2"

    async def odd(command: Sequence[str], text: str) -> Ended:
        return Ended(status=0, out="{")

    if what == "garbage":
        home.client.run = odd  # type: ignore[method-assign] - a guest with an odd `ip`
    (missing,) = by_state(await fabric.diagnose(), "missing").values()
    assert missing.subject == subject
    assert words in missing.remedy


@pytest.mark.parametrize(
    ("given", "detail"),
    [
        ({"gateway": IPv4Address("10.50.0.1")}, "it is not on a network of the guest"),
        ({"guests": (GuestOptions(vmid=101, device="ens18"),)}, "it is on the network of ens19"),
    ],
)
async def test_a_guest_that_cannot_reach_the_gateway_is_told_of(
    home: Home, tmp_path: Path, given: dict[str, object], detail: str
) -> None:
    async with started(tmp_path, attrs.evolve(options(tmp_path), **given)) as fabric:
        (missing,) = by_state(await fabric.diagnose(), "missing").values()
        assert (missing.subject[:6], missing.detail) == ("way to", detail)


async def test_an_ip_set_that_drops_is_missing_a_hand(fabric: PveFabric, home: Home) -> None:
    home.host.guests[100].ipsets = ["ipfilter-net1"]
    (missing,) = by_state(await fabric.diagnose(), "missing").values()
    assert "IP set ipfilter-net1 drops what it forwards" in missing.detail
    assert missing.remedy.startswith("delete it")


async def test_without_a_number_of_our_own_the_filter_is_unknown(home: Home, tmp_path: Path) -> None:
    async with started(tmp_path, options(tmp_path, vmid=None)) as fabric:
        (unknown,) = by_state(await fabric.diagnose(), "unknown").values()
        assert unknown.subject == "IP filter of the router's firewall"


async def test_a_host_that_falls_silent_leaves_the_rest_unknown(fabric: PveFabric, home: Home) -> None:
    home.mute = "aborts"
    (unknown,) = by_state(await fabric.diagnose(), "unknown").values()
    assert unknown.subject == "iproute2 in guest 101"
    assert "does not answer" in unknown.detail


async def test_a_token_that_is_refused_is_an_error(home: Home, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN[:-1] + "0")
    async with started(tmp_path, options(tmp_path)) as fabric:
        with pytest.raises(PermanentError, match="the API token is refused"):
            await fabric.diagnose()


async def test_before_the_start_nothing_is_asked(home: Home, tmp_path: Path, fabric: PveFabric) -> None:
    await fabric.aclose()
    with pytest.raises(TransientError, match="not started"):
        await fabric.diagnose()


def test_the_page_grants_what_is_checked_and_nothing_else() -> None:
    page = (ROOT / "docs" / "clouds" / "pve.md").read_text(encoding="utf-8")
    granted = {
        role: set(privileges.split())
        for role, privileges in re.findall(r'pveum role add (\w+) --privs "([^"]+)"', page)
    }
    assert granted == {
        "RouterdClient": {AUDIT, AGENT},
        "RouterdClient8": {AUDIT, AGENT_BEFORE_9},
        "RouterdRouter": {AUDIT, NETWORK},
    }


def test_the_pages_file_is_a_part_of_the_example() -> None:
    page = (ROOT / "docs" / "clouds" / "pve.md").read_text(encoding="utf-8")
    example = (ROOT / "examples" / "clouds" / "leaf-pve.yaml").read_text(encoding="utf-8")
    shown = [text for text in re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL) if "kind:" in text]
    assert shown
    for text in shown:
        assert " ".join(text.split()) in " ".join(example.split())
