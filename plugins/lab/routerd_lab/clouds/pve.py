"""An emulated Proxmox VE host: the part of its API that touches running guests.

Paths, parameters, privileges and answers are those of the Proxmox VE API viewer (9.0), sentences
those of qemu-server (`PVE/API2/Qemu/Agent.pm`, `PVE/QemuServer/Agent.pm`), and the envelope that of
pve-http-server: everything is below `/api2/json`, wrapped into `data`, and an error is an HTTP
status whose reason is the message. The guest agent's `exec` follows the QEMU guest agent protocol
(`guest-exec`, `guest-exec-status`, qemu-ga-ref(7)): it starts the command, and the client polls. The
command really runs in the guest, through `GuestSystem`. The answer about a token's privileges is that of
`PVE/API2/AccessControl.pm`, with the privileges of 9.0 or, in a host of version 8, `VM.Monitor`; the
digest of the firewall's options guards them as in `PVE/API2/Firewall/VM.pm`.

Proxmox VE itself neither throttles nor has quotas; what `Troubles` throttles is a proxy in front of it.
The guest agent answers from the running system, so lag makes sense only for `GET resources`.
"""

import asyncio
import hashlib
import itertools
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from routerd_lab.clouds.pve_guest import Ended, Guest, Json
from routerd_lab.clouds.state import Failure
from routerd_lab.clouds.trouble import Dialect, Troubles
from routerd_lab.namespaces import LabError

Operation = Callable[[web.Request], Awaitable[Json | list[Json] | None]]

_PREFIX = "/api2/json"
_INPUT_LIMIT = 64 * 1024
_POST_LIMIT = 64 * 1024
_FIREWALL_OPTIONS = frozenset(
    {"dhcp", "enable", "ipfilter", "log_level_in", "log_level_out", "macfilter", "ndp", "policy_in"}
    | {"policy_out", "radv"}
)
_FLAGS = frozenset({"dhcp", "enable", "ipfilter", "macfilter", "ndp", "radv"})

AUDIT = "VM.Audit"
NETWORK = "VM.Config.Network"
AGENT_AUDIT = "VM.GuestAgent.Audit"
AGENT = "VM.GuestAgent.Unrestricted"
MONITOR = "VM.Monitor"

_AGENT_COMMANDS = (
    "guest-ping",
    "guest-info",
    "guest-exec",
    "guest-exec-status",
    "guest-network-get-interfaces",
)


class PveError(Exception):
    """An answer with an error status; the reason is the API's message, `errors` its messages by parameter."""

    def __init__(self, status: int, reason: str, errors: Json | None = None) -> None:
        self.status = status
        self.reason = reason
        self.errors = errors
        super().__init__(reason)


class PveHost:
    """One host with its guests. The emulator calls `on_change` after every write.

    `privileges` are those of the token by guest; without them the token may do everything, as root may.
    """

    def __init__(
        self,
        *,
        token: str,
        guests: dict[int, Guest],
        node: str = "pve",
        version: str = "9.0.3",
        privileges: dict[int, frozenset[str]] | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.node = node
        self.guests = guests
        self.version = version
        self.privileges = privileges
        self.troubles = Troubles(DIALECT)
        self.on_change = on_change
        self._token = token
        self._commands: dict[tuple[int, int], asyncio.Task[Ended]] = {}
        self._numbers = itertools.count(1000)

    def app(self) -> web.Application:
        """Return the API."""
        app = web.Application(middlewares=[self.troubles.middleware])
        guest = f"{_PREFIX}/nodes/{{node}}/qemu/{{vmid}}"
        for method, path, operation, privilege in (
            ("GET", f"{_PREFIX}/version", self._version, ""),
            ("GET", f"{_PREFIX}/access/permissions", self._permissions, ""),
            ("GET", f"{_PREFIX}/cluster/resources", self._resources, ""),
            ("GET", f"{guest}/config", self._config, AUDIT),
            ("GET", f"{guest}/agent/info", self._info, AGENT_AUDIT),
            ("POST", f"{guest}/agent/exec", self._exec, AGENT),
            ("GET", f"{guest}/agent/exec-status", self._exec_status, AGENT),
            ("GET", f"{guest}/firewall/options", self._firewall, AUDIT),
            ("PUT", f"{guest}/firewall/options", self._set_firewall, NETWORK),
            ("GET", f"{guest}/firewall/ipset", self._ipsets, AUDIT),
            ("*", "/{path:.*}", _not_there, ""),
        ):
            app.router.add_route(method, path, self._wrapped(operation, privilege))
        app.on_cleanup.append(self._stop)
        return app

    async def _stop(self, _: web.Application) -> None:
        for task in self._commands.values():
            task.cancel()
        await asyncio.gather(*self._commands.values(), return_exceptions=True)

    # --- around every request ---------------------------------------------------------------------

    def _wrapped(self, operation: Operation, privilege: str) -> Handler:
        """Return a handler that authenticates, and answers and fails in the API's envelope."""

        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                self._admit(request, privilege)
                return web.json_response({"data": await operation(request)})
            except PveError as error:
                return _refusal(error)

        return handle

    def _admit(self, request: web.Request, privilege: str) -> None:
        given = request.headers.get("Authorization", "")
        if not given.startswith("PVEAPIToken="):
            raise PveError(401, "No ticket")
        name, _, _ = self._token.partition("=")
        if not given.startswith(f"PVEAPIToken={name}="):
            raise PveError(401, "no such token")
        if given != f"PVEAPIToken={self._token}":
            raise PveError(401, "invalid token value!")
        if (request.content_length or 0) > _POST_LIMIT:
            raise PveError(501, "for data too large")
        if privilege and not self._may(int(_number(request)), privilege):
            named = MONITOR if self._is_old and privilege in (AGENT, AGENT_AUDIT) else privilege
            raise PveError(403, f"Permission check failed (/vms/{_number(request)}, {named})")

    @property
    def _is_old(self) -> bool:
        return int(self.version.partition(".")[0]) < 9

    def _may(self, vmid: int, privilege: str) -> bool:
        if self.privileges is None:
            return True
        granted = self.privileges.get(vmid, frozenset())
        if self._is_old and privilege in (AGENT, AGENT_AUDIT):
            return MONITOR in granted
        return privilege in granted or (privilege == AGENT_AUDIT and AGENT in granted)

    def _guest(self, request: web.Request) -> tuple[int, Guest]:
        vmid, node = int(_number(request)), request.match_info["node"]
        if node != self.node:
            raise PveError(596, f"hostname lookup '{node}' failed - failed to get address info for: {node}")
        if vmid not in self.guests:
            raise PveError(500, f"Configuration file 'nodes/{node}/qemu-server/{vmid}.conf' does not exist")
        return vmid, self.guests[vmid]

    def _agent(self, request: web.Request, command: str) -> tuple[int, Guest]:
        vmid, guest = self._guest(request)
        if not guest.configured:
            raise PveError(500, "No QEMU guest agent configured")
        if not guest.running:
            raise PveError(500, f"VM {vmid} is not running")
        if not guest.agent:
            raise PveError(500, "QEMU guest agent is not running")
        if command in guest.blocked:
            raise PveError(500, f"Agent error: Command {command} has been disabled")
        return vmid, guest

    # --- the host and its guests ------------------------------------------------------------------

    async def _version(self, _: web.Request) -> Json:
        release = ".".join(self.version.split(".")[:2])
        return {"version": self.version, "release": release, "repoid": "025864202ebb6109"}

    async def _permissions(self, request: web.Request) -> Json:
        """Answer with privileges by path; each value says whether paths below inherit it."""
        path = request.query.get("path")
        known = self.privileges if self.privileges is not None else dict.fromkeys(self.guests, self._all())
        found: Json = {f"/vms/{vmid}": dict.fromkeys(sorted(held), 0) for vmid, held in known.items() if held}
        if path is None:
            return found
        return {path: found[path]} if path in found else {}

    def _all(self) -> frozenset[str]:
        return frozenset({AUDIT, NETWORK} | ({MONITOR} if self._is_old else {AGENT_AUDIT, AGENT}))

    async def _resources(self, request: web.Request) -> list[Json]:
        if request.query.get("type", "vm") != "vm":
            return []
        return [
            {
                "id": f"qemu/{vmid}",
                "type": "qemu",
                "node": self.node,
                "template": 0,
                "vmid": vmid,
                "name": guest.name,
                "status": "running" if guest.running else "stopped",
            }
            for vmid, guest in self.guests.items()
            # A token sees only the guests that it may read.
            if self._may(vmid, AUDIT)
        ]

    async def _config(self, request: web.Request) -> Json:
        _, guest = self._guest(request)
        agent = {"agent": "enabled=1"} if guest.configured else {}
        return {"name": guest.name, "ostype": "l26", **agent, **guest.config, "digest": "0" * 40}

    # --- the guest agent --------------------------------------------------------------------------

    async def _info(self, request: web.Request) -> Json:
        _, guest = self._agent(request, "guest-info")
        commands = [
            {"name": name, "enabled": name not in guest.blocked, "success-response": True}
            for name in _AGENT_COMMANDS
        ]
        return {"result": {"version": "7.2.17", "supported_commands": commands}}

    async def _exec(self, request: web.Request) -> Json:
        vmid, guest = self._agent(request, "guest-exec")
        form = await request.post()
        command, text = [str(word) for word in form.getall("command", [])], str(form.get("input-data", ""))
        _only(form, {"command", "input-data"})
        if not command:
            raise _wrong(command="property is missing and it is not optional")
        if len(text) > _INPUT_LIMIT:
            raise _wrong(**{"input-data": f"value may only be {_INPUT_LIMIT} characters long"})
        number = next(self._numbers)
        task = asyncio.create_task(self._run(guest, command, text))
        # Only let the command start: a missing program is an error of `exec` itself.
        await asyncio.sleep(0)
        if task.done() and isinstance(task.exception(), FileNotFoundError):
            said = f"Failed to execute child process “{command[0]}” (No such file or directory)"
            raise PveError(500, f"Agent error: Guest agent command failed, error was '{said}'")
        self._commands[vmid, number] = task
        return {"pid": number}

    async def _run(self, guest: Guest, command: list[str], text: str) -> Ended:
        ended = await guest.system.run(command, text)
        self.on_change()
        return ended

    async def _exec_status(self, request: web.Request) -> Json:
        vmid, _ = self._agent(request, "guest-exec-status")
        given = request.query.get("pid", "")
        if not given.isdigit():
            raise _wrong(pid="type check ('integer') failed")
        task = self._commands.get((vmid, int(given)))
        if task is None:
            raise PveError(500, f"Agent error: PID {given} does not exist")
        if not task.done():
            return {"exited": 0}
        # The agent forgets a command once it has reported its end.
        del self._commands[vmid, int(given)]
        if isinstance(task.exception(), LabError):
            return {"exited": 1, "signal": 9}  # it took too long and was killed
        ended = task.result()
        answer: Json = {"exited": 1, "exitcode": ended.status}
        answer |= {"out-data": ended.out} if ended.out else {}
        answer |= {"err-data": ended.err} if ended.err else {}
        answer |= {"out-truncated": 1} if ended.truncated else {}
        return answer

    # --- the firewall -----------------------------------------------------------------------------

    async def _firewall(self, request: web.Request) -> Json:
        firewall = self._guest(request)[1].firewall
        return {**firewall, "digest": _digest(firewall)}

    async def _set_firewall(self, request: web.Request) -> None:
        _, guest = self._guest(request)
        form = await request.post()
        _only(form, _FIREWALL_OPTIONS | {"delete", "digest"})
        if form.get("digest", _digest(guest.firewall)) != _digest(guest.firewall):
            raise PveError(500, "detected modified configuration - file changed by other user? Try again.")
        for name, value in form.items():
            if name in _FLAGS and value not in ("0", "1"):
                raise _wrong(**{name: f"type check ('boolean') failed - got '{value!s}'"})
        for name in str(form.get("delete", "")).replace(",", " ").split():
            guest.firewall.pop(name, None)
        for name, value in form.items():
            if name in _FIREWALL_OPTIONS:
                guest.firewall[name] = int(str(value)) if name in _FLAGS else str(value)
        self.on_change()

    async def _ipsets(self, request: web.Request) -> list[Json]:
        return [{"name": name, "digest": "0" * 40} for name in self._guest(request)[1].ipsets]


def _refusal(error: PveError) -> web.Response:
    body: Json = {"data": None, "message": f"{error.reason}\n"}
    body |= {"errors": error.errors} if error.errors else {}
    return web.json_response(body, status=error.status, reason=error.reason)


def _told(failure: Failure) -> web.Response:
    answer = _refusal(PveError(failure.status, failure.code or failure.message))
    if failure.retry_after is not None:
        answer.headers["Retry-After"] = str(failure.retry_after)
    return answer


DIALECT = Dialect(
    operation=lambda request, _: f"{request.method} {request.path.rpartition('/')[2]}",
    reads=lambda operation: operation.startswith("GET "),
    answer=_told,
    throttled=Failure(status=429, code="Too Many Requests", retry_after=2),
    broken=Failure(status=500, code="cfs-lock 'domain-ha' error: got lock request timeout"),
)
"""Names operations by method and last word of the path: `POST exec`, `GET exec-status`."""


def _digest(config: Json) -> str:
    return hashlib.sha1(json.dumps(config, sort_keys=True).encode(), usedforsecurity=False).hexdigest()


def _number(request: web.Request) -> str:
    """Return the guest's number in a path."""
    given = request.match_info["vmid"]
    if not given.isdigit():
        raise _wrong(vmid="invalid format - value does not look like a valid VM ID")
    return given


def _only(form: Any, known: Iterable[str]) -> None:  # noqa: ANN401 - a multidict of aiohttp
    unknown = [name for name in form if name not in set(known)]
    if unknown:
        raise _wrong(
            **dict.fromkeys(
                unknown,
                "property is not defined in schema and the schema does not allow additional properties",
            )
        )


def _wrong(**errors: str) -> PveError:
    return PveError(400, "Parameter verification failed.", dict(errors))


async def _not_there(request: web.Request) -> None:
    path = request.path.removeprefix(_PREFIX)
    raise PveError(501, f"Method '{request.method} {path}' not implemented")
