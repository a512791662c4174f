"""The Proxmox VE API as this plugin uses it; the only module that imports the SDK.

Paths are those of the API viewer: `/version`, `/access/permissions`, `/cluster/resources`,
`/nodes/{node}/qemu/{vmid}/config`, `.../agent/exec`, `.../agent/exec-status`, `.../agent/info`,
`.../firewall/options`, `.../firewall/ipset`. Calls block, so each runs in a thread. Two run at once, so
that a guest whose agent hangs does not delay the others. With a token the SDK's session keeps no state
between calls that they could disturb.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import requests
from proxmoxer import ProxmoxAPI
from proxmoxer.core import AuthenticationError, ResourceException

from routerd.errors import PermanentError, TransientError
from routerd.spi import Clock, Pacer
from routerd_cloud_pve.config import PveOptions
from routerd_cloud_pve.faults import nonsense, service_error, silent, untrusted
from routerd_cloud_pve.inventory import Done, Filter

CALL_SECONDS = 10
"""Seconds to connect, and seconds to wait for each part of an answer."""

DEADLINE_SECONDS = 30.0
"""Seconds that one call may take as a whole."""

EXEC_SECONDS = 10.0
"""Seconds that a command in a guest may take; reading a table takes milliseconds."""

_AT_ONCE = 2
_BUSY = frozenset({429, 503})
"""Statuses of a proxy in front of the API; Proxmox VE itself sends neither."""

_BUSY_SECONDS = 10.0
_POLL_SECONDS, _LONGEST_POLL = 0.1, 1.0
_SET = "ipfilter-"

_asked_to_wait: ContextVar[list[float]] = ContextVar("_asked_to_wait")
"""Seconds of each Retry-After that the call of this context received."""

# The SDK would log every request with its data.
logging.getLogger("proxmoxer").setLevel(logging.WARNING)


class Client:
    """One host or cluster."""

    def __init__(self, options: PveOptions, clock: Clock, pacer: Pacer) -> None:
        self._clock = clock
        self._pacer = pacer
        self._turns = asyncio.Semaphore(_AT_ONCE)
        user, name, value = _token(options.token_file)
        if options.ca_file is not None and not options.ca_file.is_file():
            raise PermanentError(f"pve caFile {options.ca_file}: the file does not exist; correct the option")
        self._sdk = ProxmoxAPI(
            options.host,
            port=options.port,
            user=user,
            token_name=name,
            token_value=value,
            verify_ssl=str(options.ca_file) if options.ca_file is not None else True,
            timeout=CALL_SECONDS,
        )
        # The SDK's exception has no headers.
        self._session().hooks["response"].append(_note_wait)

    def _session(self) -> requests.Session:
        session: requests.Session = self._sdk._store["session"]  # noqa: SLF001 - the SDK has no other way
        return session

    async def aclose(self) -> None:
        """Close the connections."""
        await asyncio.to_thread(self._session().close)

    async def major(self) -> int:
        """Return the host's major version; every token may ask."""
        found = await self._call("pve version", dict, self._sdk.version.get)
        number = str(found.get("version", "")).partition(".")[0]
        if not number.isdigit():
            raise nonsense("pve version")
        return int(number)

    async def privileges(self, vmid: int) -> frozenset[str]:
        """Return the token's privileges on a guest; every token may ask about itself."""
        path = f"/vms/{vmid}"
        permissions = self._sdk.access.permissions
        found = await self._call(f"pve privileges on {path}", dict, lambda: permissions.get(path=path))
        # A value says whether paths below inherit the privilege, not whether the token has it.
        return frozenset(found.get(path, {}))

    async def nodes(self) -> dict[int, str]:
        """Return the node of each guest that the token may see, by the guest's number."""
        listed = await self._call("pve guests", list, lambda: self._sdk.cluster.resources.get(type="vm"))
        return {int(each["vmid"]): str(each["node"]) for each in listed if each.get("type") == "qemu"}

    async def run(self, node: str, vmid: int, command: Sequence[str], text: str = "") -> Done:
        """Run a command in a guest with `text` as its input, and wait until it ends."""
        what = f"pve guest {vmid}"
        agent = self._sdk.nodes(node).qemu(vmid).agent
        given = {"command": list(command)} | ({"input-data": text} if text else {})
        started = await self._call(what, dict, lambda: agent("exec").post(**given))
        if "pid" not in started:
            raise nonsense(what)
        end, pause = self._clock.monotonic() + EXEC_SECONDS, _POLL_SECONDS
        while True:
            state = await self._call(what, dict, lambda: agent("exec-status").get(pid=started["pid"]))
            if int(state.get("exited", 0)):
                return Done(
                    status=int(state.get("exitcode", -1)),
                    out=str(state.get("out-data", "")),
                    err=str(state.get("err-data", "")),
                    truncated=bool(int(state.get("out-truncated", 0))),
                )
            if self._clock.monotonic() >= end:
                raise TransientError(
                    f"{what}: {command[0]} did not end within {EXEC_SECONDS:g} s; check the load of the guest"
                )
            await self._clock.sleep(pause)
            pause = min(2 * pause, _LONGEST_POLL)

    async def agent_commands(self, node: str, vmid: int) -> dict[str, bool]:
        """Return the commands that a guest's agent knows, and whether each is allowed in the guest."""
        agent = self._sdk.nodes(node).qemu(vmid).agent
        found = await self._call(f"pve guest {vmid}", dict, agent("info").get)
        commands = found.get("result", {}).get("supported_commands", [])
        return {str(each["name"]): bool(each["enabled"]) for each in commands}

    async def filter(self, node: str, vmid: int) -> Filter:
        """Return the part of a guest's firewall that drops what the guest forwards."""
        what, guest = f"pve guest {vmid} firewall", self._sdk.nodes(node).qemu(vmid)
        options = await self._call(what, dict, guest.firewall.options.get)
        digest = str(options.get("digest", ""))
        if not int(options.get("enable", 0)):
            return Filter(digest=digest)
        config = await self._call(f"pve guest {vmid} config", dict, guest.config.get)
        guarded = _guarded(config)
        if not guarded:
            return Filter(digest=digest)
        listed = await self._call(what, list, guest.firewall.ipset.get)
        sets = sorted(str(each["name"]) for each in listed)
        return Filter(
            option=bool(int(options.get("ipfilter", 0))),
            sets=tuple(name for name in sets if name.removeprefix(_SET) in guarded),
            digest=digest,
        )

    async def set_ip_filter(self, node: str, vmid: int, enabled: bool, *, digest: str) -> None:
        """Switch the IP filter; raises `StaleError` when the options changed since `digest`."""
        options = self._sdk.nodes(node).qemu(vmid).firewall.options
        given = {"ipfilter": int(enabled)} | ({"digest": digest} if digest else {})
        await self._call(f"pve guest {vmid} firewall", type(None), lambda: options.put(**given))

    async def _call(self, what: str, shape: type, request: Callable[[], Any]) -> Any:  # noqa: ANN401 - JSON
        await self._pacer.take()
        waits: list[float] = []
        _asked_to_wait.set(waits)
        try:
            async with self._turns, asyncio.timeout(DEADLINE_SECONDS):
                answer = await asyncio.to_thread(request)
        except ResourceException as error:
            status = int(error.status_code)
            wait = max(waits, default=_BUSY_SECONDS) if status in _BUSY else None
            if wait is not None:
                self._pacer.hold(wait)
            raise service_error(what, status, _message(error), wait=wait) from error
        except AuthenticationError as error:
            raise service_error(what, 401, str(error)) from error
        except requests.exceptions.SSLError as error:
            raise untrusted(what, _brief(error)) from error
        except (requests.exceptions.RequestException, OSError) as error:
            reason = f"{DEADLINE_SECONDS:g} s passed" if isinstance(error, TimeoutError) else _brief(error)
            raise silent(what, reason) from error
        if not isinstance(answer, shape):
            # The SDK wraps a body that is not JSON; such a body comes from another server.
            raise nonsense(what)
        return answer


def _note_wait(response: requests.Response, **_: object) -> None:
    """Keep the Retry-After of an answer; runs in the thread of its call, in a copy of its context."""
    said = response.headers.get("Retry-After", "")
    if said.isdigit():
        _asked_to_wait.get([]).append(float(said))


def _guarded(config: Mapping[str, object]) -> set[str]:
    """Return the NICs (`net0`) whose traffic the firewall filters."""
    return {
        name
        for name, value in config.items()
        if name.startswith("net") and name[3:].isdigit() and "firewall=1" in str(value).split(",")
    }


def _message(error: ResourceException) -> str:
    """Return the reason and the wrong parameters, where the API names them."""
    details = error.errors if isinstance(error.errors, dict) else {}
    named = [f"{name}: {text}" for name, text in details.items() if isinstance(text, str)]
    return " ".join([str(error.content), *named])


def _brief(error: BaseException) -> str:
    """Return the innermost reason of an error on one line; requests and urllib3 wrap several deep."""
    inner: object = error
    while isinstance(inner, BaseException) and inner.args and isinstance(inner.args[0], BaseException):
        inner = inner.args[0]
    text = " ".join(str(getattr(inner, "reason", None) or inner).split())
    return text[-200:] if text else type(error).__name__


def _token(path: Path) -> tuple[str, str, str]:
    """Return user, name and value of the token in a file; no error ever shows the value."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except UnicodeError:
        text = ""  # the error itself would show the content of the file
    except OSError as error:
        raise PermanentError(f"pve tokenFile {path}: cannot be read; {error.strerror}") from error
    user, mark, rest = text.partition("!")
    name, equals, value = rest.partition("=")
    if not (mark and equals and "@" in user and name and value) or len(text.split()) != 1:
        raise PermanentError(
            f"pve tokenFile {path}: does not hold a token; write one line USER@REALM!NAME=UUID"
        )
    return user, name, value
