"""The limits that a Proxmox VE host sets us: calls a second, and privileges. Pure."""

CALLS_A_SECOND = 10.0
BURST = 20
"""Proxmox VE documents no limit. Three processes of pvedaemon serve a node and its administrators."""

AUDIT = "VM.Audit"
NETWORK = "VM.Config.Network"
AGENT = "VM.GuestAgent.Unrestricted"
AGENT_BEFORE_9 = "VM.Monitor"

REMEDY = (
    f"give the token's role {AUDIT} and {AGENT} ({AGENT_BEFORE_9} before 9.0) on the client guests, {AUDIT} "
    f"and {NETWORK} on the router's own"
)


def agent_privilege(major: int) -> str:
    """Return the privilege to run commands in a guest; version 9.0 renamed it."""
    return AGENT if major >= 9 else AGENT_BEFORE_9
