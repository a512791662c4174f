"""An emulated Proxmox VE host: the part of its API that touches running guests.

Paths, parameters and answers are those of the Proxmox VE API viewer (`/cluster/resources`,
`/nodes/{node}/qemu/{vmid}/...`): everything is below `/api2/json`, wrapped into `data`, and an
error is an HTTP status whose reason is the message. The guest agent's `exec` follows the QEMU guest
agent protocol (`guest-exec`, `guest-exec-status`): it starts the command and is asked later. The
command really runs in the guest, through `GuestSystem`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import attrs
from aiohttp import web
from aiohttp.typedefs import Handler

from routerd_lab.clouds.state import FailurePlan

Json = dict[str, Any]  # Any: JSON of the API
Operation = Callable[[web.Request], Awaitable[Json | list[Json] | None]]

_PREFIX = "/api2/json"
_FIREWALL_OPTIONS = frozenset(
    {"enable", "ipfilter", "macfilter", "dhcp", "ndp", "radv", "policy_in", "policy_out"}
)


@attrs.frozen(kw_only=True)
class Ended:
    """How a command in a guest ended."""

    status: int
    out: str = ""
    err: str = ""


class GuestSystem(Protocol):
    """The operating system in a guest, as far as its agent needs it."""

    async def run(self, command: Sequence[str], text: str) -> Ended:
        """Run a command with `text` as its input."""
        ...


@attrs.define(kw_only=True)
class Guest:
    """A guest; `agent` is whether its guest agent runs."""

    name: str
    system: GuestSystem
    running: bool = True
    agent: bool = True
    firewall: Json = attrs.field(factory=dict)


class PveError(Exception):
    """An answer with an error status; the reason is what the API says."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        self.reason = reason
        super().__init__(reason)


class PveHost:
    """One host with its guests. `on_change` is called after every write."""

    def __init__(
        self,
        *,
        token: str,
        guests: dict[int, Guest],
        node: str = "pve",
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.node = node
        self.guests = guests
        self.failures = FailurePlan()
        self.on_change = on_change
        self._token = token
        self._commands: dict[tuple[int, int], asyncio.Task[Ended]] = {}
        self._numbers = itertools.count(1000)

    def app(self) -> web.Application:
        """Return the API."""
        app = web.Application()
        guest = f"{_PREFIX}/nodes/{{node}}/qemu/{{vmid}}"
        app.router.add_route("GET", f"{_PREFIX}/version", self._wrapped(self._version))
        app.router.add_route("GET", f"{_PREFIX}/cluster/resources", self._wrapped(self._resources))
        app.router.add_route("GET", f"{guest}/status/current", self._wrapped(self._status))
        app.router.add_route("POST", f"{guest}/agent/exec", self._wrapped(self._exec))
        app.router.add_route("GET", f"{guest}/agent/exec-status", self._wrapped(self._exec_status))
        app.router.add_route("GET", f"{guest}/firewall/options", self._wrapped(self._firewall))
        app.router.add_route("PUT", f"{guest}/firewall/options", self._wrapped(self._set_firewall))
        app.router.add_route("*", "/{path:.*}", self._wrapped(_not_there))
        app.on_cleanup.append(self._stop)
        return app

    async def _stop(self, _: web.Application) -> None:
        for task in self._commands.values():
            task.cancel()

    # --- around every request ---------------------------------------------------------------------

    def _wrapped(self, operation: Operation) -> Handler:
        """Return a handler that lets in, answers in the API's envelope, and gives errors as it does."""

        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                self._admit(request)
                return web.json_response({"data": await operation(request)})
            except PveError as error:
                return web.json_response({"data": None}, status=error.status, reason=error.reason)

        return handle

    def _admit(self, request: web.Request) -> None:
        if request.headers.get("Authorization") != f"PVEAPIToken={self._token}":
            raise PveError(401, "invalid token value!")
        failure = self.failures.reach(f"{request.method} {request.path.rpartition('/')[2]}")
        if failure is not None:
            raise PveError(failure.status, failure.message)

    def _guest(self, request: web.Request) -> tuple[int, Guest]:
        vmid = int(request.match_info["vmid"])
        if request.match_info["node"] != self.node:
            raise PveError(596, f"hostname lookup '{request.match_info['node']}' failed")
        if vmid not in self.guests:
            raise PveError(500, f"Configuration file 'nodes/{self.node}/{vmid}.conf' does not exist")
        return vmid, self.guests[vmid]

    # --- operations -----------------------------------------------------------------------------------

    async def _version(self, _: web.Request) -> Json:
        return {"version": "9.0.3", "release": "9.0", "repoid": "0"}

    async def _resources(self, request: web.Request) -> list[Json]:
        if request.query.get("type", "vm") != "vm":
            return []
        return [
            {
                "id": f"qemu/{vmid}",
                "type": "qemu",
                "vmid": vmid,
                "node": self.node,
                "name": guest.name,
                "status": "running" if guest.running else "stopped",
                "template": 0,
            }
            for vmid, guest in self.guests.items()
        ]

    async def _status(self, request: web.Request) -> Json:
        vmid, guest = self._guest(request)
        return {
            "vmid": vmid,
            "name": guest.name,
            "status": "running" if guest.running else "stopped",
            "agent": 1,
        }

    def _agent(self, request: web.Request) -> tuple[int, Guest]:
        vmid, guest = self._guest(request)
        if not guest.running:
            raise PveError(500, f"VM {vmid} is not running")
        if not guest.agent:
            raise PveError(500, "QEMU guest agent is not running")
        return vmid, guest

    async def _exec(self, request: web.Request) -> Json:
        vmid, guest = self._agent(request)
        form = await request.post()
        command = [str(word) for word in form.getall("command", [])]
        if not command:
            raise PveError(400, "Parameter verification failed.")
        number = next(self._numbers)
        work = guest.system.run(command, str(form.get("input-data", "")))
        self._commands[vmid, number] = asyncio.create_task(self._run(work))
        return {"pid": number}

    async def _run(self, work: Any) -> Ended:  # noqa: ANN401 - an awaitable
        ended: Ended = await work
        self.on_change()
        return ended

    async def _exec_status(self, request: web.Request) -> Json:
        vmid, _ = self._agent(request)
        number = int(request.query.get("pid", "0"))
        task = self._commands.get((vmid, number))
        if task is None:
            raise PveError(500, f"Agent error: PID {number} does not exist")
        if not task.done():
            return {"exited": 0}
        # The agent forgets a command once its end has been told.
        del self._commands[vmid, number]
        ended = task.result()
        answer: Json = {"exited": 1, "exitcode": ended.status}
        if ended.out:
            answer["out-data"] = ended.out
        if ended.err:
            answer["err-data"] = ended.err
        return answer

    async def _firewall(self, request: web.Request) -> Json:
        return dict(self._guest(request)[1].firewall)

    async def _set_firewall(self, request: web.Request) -> None:
        _, guest = self._guest(request)
        form = await request.post()
        for key, value in form.items():
            if key not in {
                "enable",
                "ipfilter",
                "macfilter",
                "dhcp",
                "ndp",
                "radv",
                "policy_in",
                "policy_out",
            }:
                raise PveError(400, "Parameter verification failed.")
            guest.firewall[key] = int(str(value)) if str(value).isdigit() else str(value)
        self.on_change()


async def _not_there(request: web.Request) -> None:
    path = request.path.removeprefix(_PREFIX)
    raise PveError(501, f"Method '{request.method} {path}' not implemented")
