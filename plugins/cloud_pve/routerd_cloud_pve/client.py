"""The Proxmox VE API as this plugin uses it; the only module that imports the SDK.

Paths are those of the API viewer: `/cluster/resources`, `/nodes/{node}/qemu/{vmid}/agent/exec`,
`.../agent/exec-status`, `.../firewall/options`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
from proxmoxer import ProxmoxAPI

from routerd.errors import PermanentError, TransientError
from routerd.spi import Clock
from routerd_cloud_pve.config import PveOptions
from routerd_cloud_pve.faults import SDK_ERRORS, translate

CALL_SECONDS = 10
EXEC_SECONDS = 30.0
_POLL_SECONDS = 0.2

# The SDK logs every request with its data; ours says what matters.
logging.getLogger("proxmoxer").setLevel(logging.WARNING)


@attrs.frozen(kw_only=True)
class Done:
    """How a command in a guest ended."""

    status: int
    out: str
    err: str


class Api:
    """One host or cluster. Calls run one after another in a thread: the SDK's session is not shared."""

    def __init__(self, options: PveOptions, clock: Clock) -> None:
        self._clock = clock
        self._turn = asyncio.Lock()
        user, name, value = _token(options.token_file)
        self._sdk = ProxmoxAPI(
            options.host,
            port=options.port,
            user=user,
            token_name=name,
            token_value=value,
            verify_ssl=str(options.ca_file) if options.ca_file is not None else True,
            timeout=CALL_SECONDS,
        )

    async def nodes(self) -> dict[int, str]:
        """Return the node of each guest that the token may see, by its number."""
        listed = await self._call("pve resources", lambda: self._sdk.cluster.resources.get(type="vm"))
        return {int(each["vmid"]): str(each["node"]) for each in listed if each.get("type") == "qemu"}

    async def run(self, node: str, vmid: int, command: Sequence[str], text: str = "") -> Done:
        """Run a command in a guest with `text` as its input, and wait for its end."""
        what = f"pve guest {vmid}"
        agent = self._sdk.nodes(node).qemu(vmid).agent
        given = {"command": list(command)} | ({"input-data": text} if text else {})
        started = await self._call(what, lambda: agent("exec").post(**given))
        end = self._clock.monotonic() + EXEC_SECONDS
        while self._clock.monotonic() < end:
            state = await self._call(what, lambda: agent("exec-status").get(pid=started["pid"]))
            if int(state.get("exited", 0)):
                return Done(
                    status=int(state.get("exitcode", -1)),
                    out=str(state.get("out-data", "")),
                    err=str(state.get("err-data", "")),
                )
            await self._clock.sleep(_POLL_SECONDS)
        raise TransientError(f"{what}: {command[0]} did not end within {EXEC_SECONDS:g} s")

    async def ip_filter(self, node: str, vmid: int) -> bool:
        """Say whether the guest's firewall drops packets from addresses that are not its own."""
        found = await self._call(
            f"pve guest {vmid} firewall", self._sdk.nodes(node).qemu(vmid).firewall.options.get
        )
        return bool(int(found.get("enable", 0))) and bool(int(found.get("ipfilter", 0)))

    async def set_ip_filter(self, node: str, vmid: int, enabled: bool) -> None:
        """Switch the IP filter; a guest without a firewall gets none by this."""
        options = self._sdk.nodes(node).qemu(vmid).firewall.options
        await self._call(f"pve guest {vmid} firewall", lambda: options.put(ipfilter=int(enabled)))

    async def _call(self, what: str, request: Callable[[], Any]) -> Any:  # noqa: ANN401 - JSON of the API
        async with self._turn:
            try:
                return await asyncio.to_thread(request)
            except SDK_ERRORS as error:
                raise translate(what, error) from error


def _token(path: Path) -> tuple[str, str, str]:
    """Return user, name and value of the token in a file; the value never shows in an error."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeError) as error:
        raise PermanentError(f"pve token {path}: cannot be read: {error}") from error
    user, mark, rest = text.partition("!")
    name, equals, value = rest.partition("=")
    if not (mark and equals and "@" in user and name and value):
        raise PermanentError(f"pve token {path}: it must hold one line USER@REALM!NAME=UUID")
    return user, name, value
