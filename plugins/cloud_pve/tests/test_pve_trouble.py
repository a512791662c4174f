"""Guests and an API in trouble: said with what to do, and nobody else is held up."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from plugins.cloud_pve.tests.pve_world import (
    NIC,
    OFF,
    ON,
    REMOTE,
    ROUTE,
    TOKEN,
    Home,
    SteppingClock,
    create,
    key,
    options,
    started,
)

from routerd.errors import PermanentError, ProviderError, TransientError
from routerd.model.change import Change
from routerd.model.fabric import FabricRouteKey, RouteTableRef
from routerd.testing.context import RecordingLogger, make_context
from routerd_cloud_pve.plugin import PveFabric
from routerd_lab.certificates import Authority
from routerd_lab.clouds.pve import AUDIT
from routerd_lab.clouds.pve_guest import Ended

pytestmark = pytest.mark.cloud


TROUBLES = [
    ("stopped", "VM 101 is not running; start the guest"),
    ("agent", "QEMU guest agent is not running; install and start qemu-guest-agent"),
    ("unconfigured", "No QEMU guest agent configured; enable it (qm set"),
    ("blocked", "Command guest-exec has been disabled; allow guest-exec"),
    ("iproute2", "install iproute2 in the guest"),
    ("garbage", "its `ip` did not print routes as JSON"),
    ("part", "kept only a part of its routes"),
    ("status", "ended with status 1; Dump terminated"),
]


def trouble(home: Home, what: str) -> None:
    guest = home.host.guests[101]
    guest.running = what != "stopped"
    guest.agent = what != "agent"
    guest.configured = what != "unconfigured"
    guest.blocked = frozenset({"guest-exec"} if what == "blocked" else ())
    home.client.installed = what != "iproute2"

    async def odd(command: Sequence[str], text: str) -> Ended:
        if what == "status":
            return Ended(status=1, err="Dump terminated\n")
        return Ended(status=0, out="{", truncated=what == "part")

    if what in ("garbage", "part", "status"):
        home.client.run = odd  # type: ignore[method-assign] - a guest with an odd `ip`


@pytest.mark.parametrize(("what", "words"), TROUBLES)
async def test_each_trouble_of_a_guest_is_said_with_what_to_do(
    fabric: PveFabric, home: Home, what: str, words: str
) -> None:
    trouble(home, what)
    with pytest.raises(TransientError) as caught:
        await fabric.routes.observe()
    assert words in str(caught.value)
    assert "guest 101" in str(caught.value)
    failures = await fabric.routes.apply([create(REMOTE[0])])
    assert isinstance(failures[key(REMOTE[0])], TransientError)
    assert words in str(failures[key(REMOTE[0])])


@pytest.mark.parametrize("what", [what for what, _ in TROUBLES] + ["removed"])
async def test_a_guest_in_trouble_keeps_no_other_from_being_served(
    home: Home, tmp_path: Path, what: str
) -> None:
    log = RecordingLogger()
    async with started(tmp_path, options(tmp_path, guests=(101, 102)), log=log) as fabric:
        await fabric.instance()
        trouble(home, what)
        if what == "removed":
            del home.host.guests[101]
        other = FabricRouteKey(table=RouteTableRef("qemu/102"), prefix=REMOTE[0])
        failures = await fabric.routes.apply(
            [create(REMOTE[0]), Change(key=other, before=None, after=ROUTE), create(REMOTE[1])]
        )
        assert set(failures) == {key(REMOTE[0]), key(REMOTE[1])}
        assert await fabric.routes.observe() == {other: ROUTE}
        assert await fabric.routes.observe() == {other: ROUTE}
        assert log.events("warning") == ["pve.guest.unserved"]


async def test_a_command_that_does_not_end_is_given_up(fabric: PveFabric, home: Home) -> None:
    async def hanging(command: Sequence[str], text: str) -> Ended:
        await asyncio.Event().wait()
        return Ended(status=0)

    home.client.run = hanging  # type: ignore[method-assign] - a guest that hangs
    with pytest.raises(TransientError, match="guest 101: ip did not end within 10 s"):
        await fabric.routes.observe()


async def test_a_guest_that_moved_to_another_node_is_found_again(fabric: PveFabric, home: Home) -> None:
    assert await fabric.routes.apply([create(REMOTE[0])]) == {}
    home.host.node = "pve2"
    assert await fabric.routes.apply([create(REMOTE[1])]) == {}
    assert await fabric.routes.observe() == {key(REMOTE[0]): ROUTE, key(REMOTE[1]): ROUTE}
    del home.host.guests[101]
    with pytest.raises(PermanentError, match="guest 101: the token sees no QEMU guest"):
        await fabric.routes.observe()


# --- the API in trouble -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "reason", "kind", "words"),
    [
        (401, "invalid token value!", PermanentError, "into tokenFile"),
        (
            403,
            "Permission check failed",
            PermanentError,
            "VM.GuestAgent.Unrestricted (VM.Monitor before 9.0)",
        ),
        (400, "Parameter verification failed.", PermanentError, "check the options"),
        (501, "Method not implemented", PermanentError, "the host's version"),
        (429, "Too Many Requests", TransientError, "too many requests; 429"),
        (503, "Service Unavailable", TransientError, "too many requests; 503"),
        (500, "got lock timeout", TransientError, "failed with 500 got lock timeout"),
        (
            500,
            "VM 101 qmp command 'guest-ping' failed - got timeout",
            TransientError,
            "restart qemu-guest-agent",
        ),
        (595, "No route to host", TransientError, "check that node"),
        (596, "Connection timed out", TransientError, "check that node"),
        (599, "Too many redirections", TransientError, "check that node"),
    ],
)
async def test_each_refusal_of_the_api_has_its_meaning(
    fabric: PveFabric, home: Home, status: int, reason: str, kind: type[ProviderError], words: str
) -> None:
    home.host.troubles.fail_next("POST exec", status=status, code=reason)
    failures = await fabric.routes.apply([create(REMOTE[0])])
    assert isinstance(failures[key(REMOTE[0])], kind)
    assert words in str(failures[key(REMOTE[0])])
    assert "pve guest 101" in str(failures[key(REMOTE[0])])
    assert TOKEN.partition("=")[2] not in str(failures[key(REMOTE[0])])
    assert await fabric.routes.apply([create(REMOTE[0])]) == {}


async def test_a_missing_privilege_is_named(fabric: PveFabric, home: Home) -> None:
    home.host.privileges = {100: frozenset({AUDIT}), 101: frozenset({AUDIT})}
    with pytest.raises(PermanentError, match=r"Permission check failed \(/vms/101, VM.GuestAgent"):
        await fabric.routes.observe()
    failures = await fabric.forwarding.apply([Change(key=NIC, before=OFF, after=ON)])
    assert "/vms/100, VM.Config.Network" in str(failures[NIC])


@pytest.mark.parametrize("nth", range(1, 13))  # as many calls as a pass makes
async def test_when_the_nth_call_fails_the_next_pass_heals(home: Home, tmp_path: Path, nth: int) -> None:
    async with started(tmp_path, options(tmp_path)) as fabric:
        home.host.troubles.fail_call(nth, status=500, code="")

        async def converge() -> bool:
            try:
                await fabric.instance()
                observed = await fabric.forwarding.observe()
                switches = [
                    Change(key=nic, before=now, after=ON) for nic, now in observed.items() if now != ON
                ]
                failed = bool(await fabric.forwarding.apply(switches))
                present = await fabric.routes.observe()
                missing = [create(prefix) for prefix in REMOTE if key(prefix) not in present]
                return not await fabric.routes.apply(missing) and not failed
            except TransientError:
                return False

        outcomes = [await converge() for _ in range(2)]
        assert outcomes == [False, True]
        assert home.ours(home.client) == set(REMOTE)
        assert home.host.guests[100].firewall["ipfilter"] == 0


async def test_a_host_that_does_not_answer_is_asked_once_and_not_for_each_guest(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with started(tmp_path, options(tmp_path, guests=(101, 102))) as fabric:
        await fabric.instance()
        asked = []

        def nowhere(*arguments: object, **_: object) -> Any:
            asked.append(arguments)
            raise socket.gaierror(socket.EAI_NONAME, "name unknown")

        await fabric.aclose()
        await fabric.start()  # with no connection that could be used again
        monkeypatch.setattr(socket, "getaddrinfo", nowhere)
        with pytest.raises(TransientError, match="the host does not answer"):
            await fabric.routes.observe()
        asked.clear()
        other = FabricRouteKey(table=RouteTableRef("qemu/102"), prefix=REMOTE[0])
        failures = await fabric.routes.apply([create(REMOTE[0]), Change(key=other, before=None, after=ROUTE)])
        assert set(failures) == {key(REMOTE[0]), other}
        assert len(asked) == 1


async def test_a_host_that_falls_silent_is_not_asked_for_the_next_guest(home: Home, tmp_path: Path) -> None:
    async with started(tmp_path, options(tmp_path, guests=(101, 102))) as fabric:
        await fabric.instance()
        home.mute = "aborts"
        with pytest.raises(TransientError, match="guest 101: the host does not answer"):
            await fabric.routes.observe()
        assert home.asked == 1
        home.mute = ""
        assert await fabric.routes.observe() == {}


async def test_a_call_that_takes_too_long_is_given_up(
    fabric: PveFabric, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fabric.instance()
    home.mute = "hangs"
    monkeypatch.setattr("routerd_cloud_pve.client.DEADLINE_SECONDS", 0.2)
    failures = await fabric.routes.apply([create(REMOTE[0])])
    assert "the host does not answer; 0.2 s passed" in str(failures[key(REMOTE[0])])
    home.released.set()


async def test_closing_ends_the_connections(home: Home, tmp_path: Path) -> None:
    fabric = PveFabric(make_context(tmp_path, clock=SteppingClock()), options(tmp_path))
    await fabric.start()
    first = fabric.account.api
    closed = []
    first._sdk._store["session"].close = lambda: closed.append(True)
    await fabric.start()
    assert closed == [True]
    assert fabric.account.api is not first
    await fabric.aclose()
    await fabric.aclose()
    with pytest.raises(TransientError, match="not started yet"):
        await fabric.routes.observe()


async def test_another_kind_of_server_is_told_apart(home: Home, tmp_path: Path) -> None:
    async with started(tmp_path, options(tmp_path)) as fabric:
        home.answer_with_pages = True
        with pytest.raises(PermanentError, match="does not come from Proxmox VE; check host and port"):
            await fabric.instance()


async def test_an_untrusted_certificate_is_refused(home: Home, tmp_path: Path) -> None:
    other = Authority()
    other.write_certificate(tmp_path / "ca.pem")
    async with started(tmp_path, options(tmp_path)) as fabric:
        with pytest.raises(PermanentError, match="set caFile"):
            await fabric.instance()
        assert home.host.troubles.calls == []


@pytest.mark.parametrize(
    "text", ["", "secret", "root@pam!x", "root@pam!=y", "root!x=y", "a@b!c=d\nsecret", "é"]
)
async def test_a_token_file_that_holds_no_token_is_named_without_its_content(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "token").write_text(text)
    fabric = PveFabric(make_context(tmp_path, clock=SteppingClock()), options(tmp_path, ca=False))
    with pytest.raises(PermanentError, match="USER@REALM!NAME=UUID") as caught:
        await fabric.start()
    assert "secret" not in str(caught.value)


async def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    fabric = PveFabric(make_context(tmp_path, clock=SteppingClock()), options(tmp_path))
    with pytest.raises(PermanentError, match=r"tokenFile .*/token: cannot be read; No such file"):
        await fabric.start()
    (tmp_path / "token").write_text(TOKEN)
    with pytest.raises(PermanentError, match=r"caFile .*/ca\.pem: the file does not exist"):
        await fabric.start()


async def test_nothing_that_is_logged_has_the_token(home: Home, tmp_path: Path) -> None:
    log = RecordingLogger()
    async with started(tmp_path, options(tmp_path), log=log) as fabric:
        assert await fabric.routes.apply([create(REMOTE[0])]) == {}
        assert log.events("info") == ["pve.routes.changed"]
        assert TOKEN.partition("=")[2] not in log.text() + repr(fabric.account.api) + repr(
            fabric.account.options
        )


async def test_a_dry_run_changes_nothing(home: Home, tmp_path: Path) -> None:
    context = make_context(tmp_path, read_only=True, clock=SteppingClock())
    fabric = PveFabric(context, options(tmp_path))
    await fabric.start()
    assert await fabric.routes.observe() == {}
    failures = await fabric.routes.apply([create(REMOTE[0])])
    assert set(failures) == {key(REMOTE[0])}
    assert set(await fabric.forwarding.apply([Change(key=NIC, before=OFF, after=ON)])) == {NIC}
    assert home.ours(home.client) == set()
    assert home.host.guests[100].firewall["ipfilter"] == 1
    await fabric.aclose()
