"""The checks of `routerd doctor cloud` on Proxmox VE: privileges, then each guest. Changes nothing."""

from collections.abc import AsyncIterator, Sequence

from routerd.errors import ProviderError
from routerd.model.fabric import Finding
from routerd_cloud_pve.account import Account
from routerd_cloud_pve.config import Guest
from routerd_cloud_pve.faults import IN_VAIN
from routerd_cloud_pve.forwarding import SETS_REMEDY, read_filter
from routerd_cloud_pve.inventory import GuestRoute
from routerd_cloud_pve.limits import AUDIT, NETWORK, agent_privilege
from routerd_cloud_pve.routes import read_table

_COMMANDS = ("guest-exec", "guest-exec-status")


async def examine(account: Account) -> Sequence[Finding]:
    """Return the findings; raises `ProviderError` when the host does not answer at all."""
    agent = agent_privilege(await account.api.major())
    findings: list[Finding] = []
    for member in account.options.guests:
        findings += [each async for each in _privileges(account, member.vmid, (AUDIT, agent))]
        # Without a privilege every further answer would only say that it is missing.
        if all(each.state == "ok" for each in findings[-2:]):
            findings += [each async for each in _client(account, member)]
    vmid = account.options.vmid
    if vmid is None:
        return [
            *findings,
            Finding(
                subject="IP filter of the router's firewall",
                state="unknown",
                detail="vmid is not set, so routerd does not know which guest it runs on",
            ),
        ]
    findings += [each async for each in _privileges(account, vmid, (AUDIT, NETWORK))]
    if findings[-2].state == "ok":
        findings.append(await _filter(account, vmid))
    return findings


async def _privileges(account: Account, vmid: int, wanted: Sequence[str]) -> AsyncIterator[Finding]:
    held = await account.api.privileges(vmid)
    for name in wanted:
        subject = f"{name} on /vms/{vmid}"
        if name in held:
            yield Finding(subject=subject, state="ok")
        else:
            remedy = f"give the token a role with {name} there: pveum acl modify /vms/{vmid} --roles ROLE"
            yield Finding(
                subject=subject,
                state="missing",
                detail=f"the token has {', '.join(sorted(held)) or 'no privilege'} there",
                remedy=f"{remedy} --users USER",
            )


async def _client(account: Account, member: Guest) -> AsyncIterator[Finding]:
    """Check a guest, step by step until one fails."""
    vmid = member.vmid
    subject = f"guest agent of guest {vmid}"
    try:
        commands = await account.at_node(vmid, lambda node: account.api.agent_commands(node, vmid))
    except ProviderError as error:
        yield _failed(subject, error)
        return
    yield Finding(subject=subject, state="ok")
    subject = f"guest-exec in guest {vmid}"
    refused = [name for name in _COMMANDS if not commands.get(name, False)]
    if refused:
        yield Finding(
            subject=subject,
            state="missing",
            detail=f"the agent refuses {', '.join(refused)}",
            remedy="allow them in the agent's settings in the guest (block-rpcs, blacklist, allow-rpcs)",
        )
        return
    yield Finding(subject=subject, state="ok")
    subject = f"iproute2 in guest {vmid}"
    try:
        routes = await read_table(account, member)
    except ProviderError as error:
        yield _failed(subject, error)
        return
    yield Finding(subject=subject, state="ok")
    yield _way(account, member, list(routes.values()))


def _way(account: Account, member: Guest, routes: Sequence[GuestRoute]) -> Finding:
    """Say whether a guest reaches the gateway on a network of its own, by the device of the options."""
    gateway = account.options.gateway
    subject = f"way to {gateway} in guest {member.vmid}"
    near = [each for each in routes if each.gateway is None and not each.drops and gateway in each.prefix]
    devices = sorted({each.device for each in near})
    if member.device in (None, *devices) and devices:
        return Finding(subject=subject, state="ok", detail=f"by {member.device or devices[0]}")
    detail = (
        f"it is on the network of {', '.join(devices)}" if devices else "it is not on a network of the guest"
    )
    return Finding(
        subject=subject,
        state="missing",
        detail=detail,
        remedy="correct gateway and the guest's device in the options, or give the guest a NIC there",
    )


async def _filter(account: Account, vmid: int) -> Finding:
    subject = f"IP filter of guest {vmid}"
    try:
        found = await read_filter(account, vmid)
    except ProviderError as error:
        return _failed(subject, error)
    if found.sets:
        return Finding(
            subject=subject,
            state="missing",
            detail=f"its IP set {', '.join(found.sets)} drops what it forwards",
            remedy=SETS_REMEDY,
        )
    return Finding(
        subject=subject, state="ok", detail="on; routerd switches it off" if found.option else "drops nothing"
    )


def _failed(subject: str, error: ProviderError) -> Finding:
    """Return an error as a finding; the last semicolon of its text comes before the remedy."""
    if isinstance(error, IN_VAIN):
        return Finding(subject=subject, state="unknown", detail=str(error))
    text = str(error)
    detail, _, remedy = text.rpartition("; ") if "; " in text else (text, "", "")
    return Finding(subject=subject, state="missing", detail=detail, remedy=remedy)
