"""What a Proxmox VE host lets us do, and what keeps a guest from being told of routes; changes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from routerd.errors import ProviderError
from routerd.model.fabric import Finding
from routerd_cloud_pve import guest
from routerd_cloud_pve.config import Guest
from routerd_cloud_pve.faults import IN_VAIN
from routerd_cloud_pve.forwarding import SETS_REMEDY

if TYPE_CHECKING:
    from routerd_cloud_pve.fabric import PveFabric

AUDIT = "VM.Audit"
NETWORK = "VM.Config.Network"
AGENT = "VM.GuestAgent.Unrestricted"
AGENT_BEFORE_9 = "VM.Monitor"

_COMMANDS = ("guest-exec", "guest-exec-status")


def agent_privilege(major: int) -> str:
    """Return the privilege for running commands in a guest, which 9.0 named anew."""
    return AGENT if major >= 9 else AGENT_BEFORE_9


async def diagnose(fabric: PveFabric) -> Sequence[Finding]:
    """Return what was checked; raises `ProviderError` when the host answers nothing at all."""
    agent = agent_privilege(await fabric.api.major())
    findings: list[Finding] = []
    for member in fabric.options.guests:
        findings += [each async for each in _privileges(fabric, member.vmid, (AUDIT, agent))]
        # Without a privilege every further answer would be the same: that it is missing.
        if all(each.state == "ok" for each in findings[-2:]):
            findings += [each async for each in _client(fabric, member)]
    vmid = fabric.options.vmid
    if vmid is None:
        detail = "without vmid in the options nobody knows which guest this router is, if it is one"
        return [
            *findings,
            Finding(subject="IP filter of the router's firewall", state="unknown", detail=detail),
        ]
    findings += [each async for each in _privileges(fabric, vmid, (AUDIT, NETWORK))]
    if findings[-2].state == "ok":
        findings.append(await _filter(fabric, vmid))
    return findings


async def _privileges(fabric: PveFabric, vmid: int, wanted: Sequence[str]) -> AsyncIterator[Finding]:
    held = await fabric.api.privileges(vmid)
    for name in wanted:
        subject = f"{name} on /vms/{vmid}"
        if name in held:
            yield Finding(subject=subject, state="ok")
        else:
            remedy = f"give the token a role with {name} there: pveum acl modify /vms/{vmid} --roles ROLE"
            detail = f"the token has {', '.join(sorted(held)) or 'no privilege'} there"
            yield Finding(subject=subject, state="missing", detail=detail, remedy=f"{remedy} --users USER")


async def _client(fabric: PveFabric, member: Guest) -> AsyncIterator[Finding]:
    """Look into a guest, as far as it lets us."""
    vmid = member.vmid
    subject = f"guest agent of guest {vmid}"
    try:
        commands = await fabric.at_node(vmid, lambda node: fabric.api.agent_commands(node, vmid))
    except ProviderError as error:
        yield _failed(subject, error)
        return
    yield Finding(subject=subject, state="ok")
    subject = f"guest-exec in guest {vmid}"
    refused = [name for name in _COMMANDS if not commands.get(name, False)]
    if refused:
        detail = f"the agent refuses {', '.join(refused)}"
        remedy = "allow them in the agent's settings in the guest (block-rpcs, blacklist, allow-rpcs)"
        yield Finding(subject=subject, state="missing", detail=detail, remedy=remedy)
        return
    yield Finding(subject=subject, state="ok")
    subject = f"iproute2 in guest {vmid}"
    try:
        routes = await fabric.guest_routes(member)
    except ProviderError as error:
        yield _failed(subject, error)
        return
    yield Finding(subject=subject, state="ok")
    yield _way(fabric, member, list(routes.values()))


def _way(fabric: PveFabric, member: Guest, routes: Sequence[guest.GuestRoute]) -> Finding:
    """Say whether a guest reaches the gateway on a network of its own, by the device that it shall."""
    gateway = fabric.options.gateway
    subject = f"way to {gateway} in guest {member.vmid}"
    near = [each for each in routes if each.gateway is None and not each.drops and gateway in each.prefix]
    devices = sorted({each.device for each in near})
    if member.device in (None, *devices) and devices:
        return Finding(subject=subject, state="ok", detail=f"by {member.device or devices[0]}")
    detail = (
        f"it is on the network of {', '.join(devices)}" if devices else "it is on no network of the guest"
    )
    remedy = "correct gateway, and the guest's device, in the options; or give the guest a NIC there"
    return Finding(subject=subject, state="missing", detail=detail, remedy=remedy)


async def _filter(fabric: PveFabric, vmid: int) -> Finding:
    subject = f"IP filter of guest {vmid}"
    try:
        found = await fabric.at_node(vmid, lambda node: fabric.api.filter(node, vmid))
    except ProviderError as error:
        return _failed(subject, error)
    if found.sets:
        detail = f"its IP set {', '.join(found.sets)} drops what it forwards, and is not ours"
        return Finding(subject=subject, state="missing", detail=detail, remedy=SETS_REMEDY)
    return Finding(
        subject=subject, state="ok", detail="on; routerd switches it off" if found.option else "drops nothing"
    )


def _failed(subject: str, error: ProviderError) -> Finding:
    """Return an error as a finding: what was found and what to do are parted by its semicolon."""
    if isinstance(error, IN_VAIN):
        return Finding(subject=subject, state="unknown", detail=str(error))
    detail, _, remedy = str(error).partition("; ")
    return Finding(subject=subject, state="missing", detail=detail, remedy=remedy)
