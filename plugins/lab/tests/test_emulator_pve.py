"""The emulated Proxmox VE host as the unmodified SDK sees it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import attrs
import pytest
import requests
from aiohttp import web
from proxmoxer import ProxmoxAPI, ResourceException
from tests.support.guest_kernel import GuestKernel

from routerd_lab.certificates import Authority
from routerd_lab.clouds.pve import AGENT, AGENT_AUDIT, AUDIT, MONITOR, NETWORK, PveHost
from routerd_lab.clouds.pve_guest import Ended, Guest
from routerd_lab.clouds.trouble import Kind, Lag, Trouble
from routerd_lab.namespaces import LabError

pytestmark = pytest.mark.cloud

TOKEN = "routerd@pve!fabric=7a0c39b1-5d5e-4f5a-8d35-0f6a2f9f3c11"


@attrs.frozen
class Served:
    """A host whose API is served, and the SDK that drives it in a thread."""

    host: PveHost
    kernel: GuestKernel
    port: int
    authority: Path

    async def call(self, work: Callable[[ProxmoxAPI], Any], *, token: str = TOKEN) -> Any:
        user, _, rest = token.partition("!")
        name, _, value = rest.partition("=")

        def calling() -> Any:
            api = ProxmoxAPI(
                "127.0.0.1",
                port=self.port,
                user=user,
                token_name=name,
                token_value=value,
                verify_ssl=str(self.authority),
            )
            with contextlib.closing(api._store["session"]):
                return work(api)

        return await asyncio.to_thread(calling)

    async def refused(self, work: Callable[[ProxmoxAPI], Any], **more: str) -> ResourceException:
        with pytest.raises(ResourceException) as caught:
            await self.call(work, **more)
        return caught.value

    async def ended(self, *command: str, text: str = "") -> dict[str, Any]:
        """Run a command as `qm guest exec` does: start it, then ask until it has ended."""
        given = {"command": list(command)} | ({"input-data": text} if text else {})
        started = await self.call(lambda api: agent(api)("exec").post(**given))
        while True:
            state = await self.call(lambda api: agent(api)("exec-status").get(pid=started["pid"]))
            if state["exited"]:
                return dict(state)


def guest(api: ProxmoxAPI) -> Any:
    return api.nodes("pve").qemu(101)


def agent(api: ProxmoxAPI) -> Any:
    return guest(api).agent


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    kernel = GuestKernel({"ens18": "192.168.1.47/24", "ens19": "10.99.9.10/24"})
    host = PveHost(
        token=TOKEN,
        guests={
            101: Guest(
                name="pve-client",
                system=kernel,
                config={"net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1"},
                firewall={"enable": 1, "ipfilter": 1},
                ipsets=["ipfilter-net0"],
            )
        },
    )
    authority = Authority()
    authority.write_certificate(tmp_path / "ca.pem")
    authority.write_server(tmp_path / "server.pem", ("pve.example",), IPv4Address("127.0.0.1"))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "server.pem")
    runner = web.AppRunner(host.app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    yield Served(host, kernel, runner.addresses[0][1], tmp_path / "ca.pem")
    for connection in runner.server.connections if runner.server else ():
        # A polite end of TLS would wait for a client that may be gone.
        if connection.transport is not None:
            connection.transport.abort()
    await runner.cleanup()
    for _ in range(5):
        await asyncio.sleep(0)


class TestApi:
    """What the SDK sees."""

    async def test_the_host_lists_its_guests(self, served: Served) -> None:
        assert (await served.call(lambda api: api.version.get()))["release"] == "9.0"
        (resource,) = await served.call(lambda api: api.cluster.resources.get(type="vm"))
        assert (resource["id"], resource["node"], resource["type"]) == ("qemu/101", "pve", "qemu")
        assert await served.call(lambda api: api.cluster.resources.get(type="storage")) == []
        assert (resource["vmid"], resource["name"], resource["status"]) == (101, "pve-client", "running")
        config = await served.call(lambda api: guest(api).config.get())
        assert (config["agent"], config["net0"][-10:]) == ("enabled=1", "firewall=1")
        served.host.guests[101].running = False
        (resource,) = await served.call(lambda api: api.cluster.resources.get(type="vm"))
        assert resource["status"] == "stopped"

    async def test_a_command_is_started_and_then_asked_for_once(self, served: Served) -> None:
        ended = await served.ended("ip", "-N", "-j", "-4", "route", "show")
        assert (ended["exited"], ended["exitcode"]) == (1, 0)
        assert "err-data" not in ended
        assert [row["dst"] for row in json.loads(ended["out-data"])] == ["10.99.9.0/24", "192.168.1.0/24"]
        error = await served.refused(lambda api: agent(api)("exec-status").get(pid=1000))
        assert (error.status_code, error.content) == (500, "Agent error: PID 1000 does not exist")

    async def test_the_input_reaches_the_command_and_its_complaints_come_back(self, served: Served) -> None:
        text = "route add 10.81.10.20/32 via 10.99.9.1 proto 147\nroute add 10.1.1.1/32 via 1.2.3.4\n"
        ended = await served.ended("ip", "-4", "-force", "-batch", "-", text=text)
        assert ended["exitcode"] == 1
        assert ended["err-data"] == "Error: Nexthop has invalid gateway.\nCommand failed -:2\n"
        assert served.kernel.find(IPv4Network("10.81.10.20/32")) is not None

    async def test_a_command_is_split_into_words_by_the_sdk(self, served: Served) -> None:
        started = await served.call(lambda api: agent(api)("exec").post(command="ip -j address show"))
        assert started == {"pid": 1000}
        assert served.kernel.commands == [("ip", "-j", "address", "show")]

    async def test_a_program_that_is_not_there_is_an_error_of_the_start(self, served: Served) -> None:
        error = await served.refused(lambda api: agent(api)("exec").post(command=["frr"]))
        assert "Failed to execute child process" in str(error.content).replace("â\x80\x9c", "")

    async def test_a_command_that_took_too_long_was_killed(self, served: Served) -> None:
        async def late(command: Sequence[str], text: str) -> Ended:
            raise LabError("pve-client: ip: no end after 20 s")

        served.kernel.run = late  # type: ignore[method-assign] - a guest that hangs
        assert await served.ended("ip") == {"exited": 1, "signal": 9}

    async def test_each_state_of_the_agent_has_the_sentence_of_the_real_host(self, served: Served) -> None:
        member = served.host.guests[101]

        async def said() -> str:
            error = await served.refused(lambda api: agent(api).info.get())
            assert error.status_code == 500
            return str(error.content)

        member.blocked = frozenset({"guest-info"})
        assert await said() == "Agent error: Command guest-info has been disabled"
        member.agent = False
        assert await said() == "QEMU guest agent is not running"
        member.running = False
        assert await said() == "VM 101 is not running"
        member.configured = False
        assert await said() == "No QEMU guest agent configured"

    async def test_the_firewall_is_set_option_by_option(self, served: Served) -> None:
        await served.call(lambda api: guest(api).firewall.options.put(ipfilter=0))
        options = await served.call(lambda api: guest(api).firewall.options.get())
        assert (options["enable"], options["ipfilter"]) == (1, 0)
        await served.call(lambda api: guest(api).firewall.options.put(delete="ipfilter,enable"))
        assert served.host.guests[101].firewall == {}
        (found,) = await served.call(lambda api: guest(api).firewall.ipset.get())
        assert found["name"] == "ipfilter-net0"

    async def test_wrong_parameters_are_named(self, served: Served) -> None:
        for given in ({"ipfilter": 2}, {"ipfilters": 1}):
            error = await served.refused(lambda api, given=given: guest(api).firewall.options.put(**given))
            assert (error.status_code, error.content) == (400, "Parameter verification failed.")
            assert set(error.errors) == set(given)
        error = await served.refused(lambda api: agent(api)("exec").post(**{"input-data": "x"}))
        assert set(error.errors) == {"command"}
        error = await served.refused(lambda api: agent(api)("exec-status").get(pid="x"))
        assert set(error.errors) == {"pid"}
        error = await served.refused(lambda api: api.nodes("pve").qemu("x").config.get())
        assert set(error.errors) == {"vmid"}

    async def test_a_request_that_is_too_large_is_refused(self, served: Served) -> None:
        error = await served.refused(
            lambda api: agent(api)("exec").post(command=["ip"], **{"input-data": "x" * 65536})
        )
        assert (error.status_code, error.content) == (501, "for data too large")

    async def test_only_the_token_opens(self, served: Served) -> None:
        name = TOKEN.partition("=")[0]
        for token, words in ((f"{name}=wrong", "invalid token value!"), ("a@pve!b=c", "no such token")):
            error = await served.refused(lambda api: api.version.get(), token=token)
            assert (error.status_code, error.content) == (401, words)

    async def test_a_token_may_do_what_its_role_says_and_sees_no_other_guest(self, served: Served) -> None:
        served.host.privileges = {101: frozenset({AUDIT})}
        assert await served.call(lambda api: guest(api).firewall.options.get())
        for work, privilege in (
            (lambda api: agent(api)("exec").post(command=["ip"]), AGENT),
            (lambda api: guest(api).firewall.options.put(ipfilter=0), NETWORK),
        ):
            error = await served.refused(work)
            assert (error.status_code, error.content) == (
                403,
                f"Permission check failed (/vms/101, {privilege})",
            )
        served.host.privileges = {}
        assert await served.call(lambda api: api.cluster.resources.get(type="vm")) == []
        assert (await served.refused(lambda api: guest(api).config.get())).status_code == 403

    async def test_what_is_not_there_is_said_as_the_real_host_does(self, served: Served) -> None:
        error = await served.refused(lambda api: api.nodes("pve").qemu(7).config.get())
        assert error.content == "Configuration file 'nodes/pve/qemu-server/7.conf' does not exist"
        assert (await served.refused(lambda api: api.nodes("x").qemu(101).config.get())).status_code == 596
        error = await served.refused(lambda api: api.nodes("pve").lxc.get())
        assert error.content == "Method 'GET /nodes/pve/lxc' not implemented"

    async def test_calls_fail_as_they_are_told_to(self, served: Served) -> None:
        served.host.troubles.fail_next("GET version", status=503, code="")
        assert (await served.refused(lambda api: api.version.get())).status_code == 503
        assert await served.call(lambda api: api.version.get())
        assert served.host.troubles.calls == ["GET version", "GET version"]

    async def test_a_change_is_announced_when_a_command_has_ended(self, served: Served) -> None:
        announced = []
        served.host.on_change = lambda: announced.append(True)
        await served.ended("ip", "-4", "route", "show")
        await served.call(lambda api: guest(api).firewall.options.put(ipfilter=0))
        assert len(announced) == 2

    async def test_a_token_may_ask_what_it_may_do(self, served: Served) -> None:
        """`AccessControl.pm`: by path; a value says whether the privilege goes on to what lies below."""
        served.host.privileges = {101: frozenset({AUDIT, AGENT})}
        everything = await served.call(lambda api: api.access.permissions.get())
        assert everything == {"/vms/101": {AUDIT: 0, AGENT: 0}}
        assert await served.call(lambda api: api.access.permissions.get(path="/vms/101")) == everything
        assert await served.call(lambda api: api.access.permissions.get(path="/vms/7")) == {}
        served.host.privileges = None
        assert AGENT_AUDIT in (await served.call(lambda api: api.access.permissions.get()))["/vms/101"]

    async def test_before_9_one_privilege_stood_for_the_whole_agent(self, served: Served) -> None:
        served.host.version = "8.4.1"
        assert (await served.call(lambda api: api.version.get()))["release"] == "8.4"
        served.host.privileges = {101: frozenset({AUDIT, AGENT})}
        error = await served.refused(lambda api: agent(api)("exec").post(command=["ip"]))
        assert error.content == "Permission check failed (/vms/101, VM.Monitor)"
        served.host.privileges = {101: frozenset({MONITOR})}
        assert await served.call(lambda api: agent(api)("exec").post(command=["ip", "route", "show"]))
        assert await served.call(lambda api: agent(api).info.get())

    async def test_the_agent_says_which_commands_it_takes(self, served: Served) -> None:
        """`guest-info` of qemu-ga-ref(7)."""
        served.host.guests[101].blocked = frozenset({"guest-exec"})
        told = (await served.call(lambda api: agent(api).info.get()))["result"]
        enabled = {each["name"]: each["enabled"] for each in told["supported_commands"]}
        assert (enabled["guest-exec"], enabled["guest-exec-status"]) == (False, True)

    async def test_the_digest_of_the_firewalls_options_guards_them(self, served: Served) -> None:
        read = await served.call(lambda api: guest(api).firewall.options.get())
        await served.call(lambda api: guest(api).firewall.options.put(macfilter=1, digest=read["digest"]))
        error = await served.refused(
            lambda api: guest(api).firewall.options.put(ipfilter=0, digest=read["digest"])
        )
        assert error.status_code == 500
        assert error.content == "detected modified configuration - file changed by other user? Try again."
        assert served.host.guests[101].firewall["ipfilter"] == 1
        again = await served.call(lambda api: guest(api).firewall.options.get())
        await served.call(lambda api: guest(api).firewall.options.put(ipfilter=0, digest=again["digest"]))

    async def test_a_batch_may_show_the_table_in_its_last_line(self, served: Served) -> None:
        text = "route add 10.81.10.20/32 via 10.99.9.1 proto 147\nbogus\nroute show\n"
        ended = await served.ended("ip", "-N", "-j", "-4", "-force", "-batch", "-", text=text)
        assert ended["exitcode"] == 1
        assert json.loads(ended["out-data"])[0]["dst"] == "10.81.10.20"

    @pytest.mark.parametrize(("kind", "done"), [(Kind.FAIL, 0), (Kind.FAIL_AFTER, 1)])
    async def test_a_call_may_fail_before_and_after_its_work(
        self, served: Served, kind: Kind, done: int
    ) -> None:
        served.host.troubles.add(Trouble(kind=kind, operation="POST exec"))
        error = await served.refused(lambda api: agent(api)("exec").post(command=["ip", "route", "show"]))
        assert (error.status_code, len(served.kernel.commands)) == (500, done)
        assert "got lock request timeout" in str(error.content)

    @pytest.mark.parametrize(("kind", "done"), [(Kind.CLOSE, 0), (Kind.LOSE, 1)])
    async def test_an_answer_may_get_lost(self, served: Served, kind: Kind, done: int) -> None:
        served.host.troubles.add(Trouble(kind=kind, operation="POST exec"))
        with pytest.raises(requests.exceptions.ConnectionError):
            await served.call(lambda api: agent(api)("exec").post(command=["ip", "route", "show"]))
        assert len(served.kernel.commands) == done

    async def test_a_proxy_in_front_may_throttle(self, served: Served) -> None:
        told: list[str | None] = []

        def work(api: ProxmoxAPI) -> None:
            api._store["session"].hooks["response"].append(
                lambda response, **_: told.append(response.headers.get("Retry-After"))
            )
            api.version.get()

        served.host.troubles.add(Trouble(kind=Kind.THROTTLE))
        error = await served.refused(work)
        assert (error.status_code, error.content, told) == (429, "Too Many Requests", ["2"])

    async def test_where_a_guest_is_may_be_told_late(self, served: Served) -> None:
        """The list of guests is another file of the cluster than the guest itself."""
        await served.call(lambda api: api.cluster.resources.get(type="vm"))
        served.host.troubles.lag(Lag(reads=1, operation="GET resources"))
        await served.call(lambda api: guest(api).firewall.options.put(macfilter=1))
        served.host.node = "pve2"
        nodes = [await served.call(lambda api: api.cluster.resources.get(type="vm")) for _ in range(2)]
        assert [listed[0]["node"] for listed in nodes] == ["pve", "pve2"]
