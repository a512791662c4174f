"""Files of the enrollment listener that change while it serves: certificate, key, client CA, token."""

from __future__ import annotations

import asyncio
import os
import resource
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network
from pathlib import Path

import aiohttp
import attrs
import pytest

from routerd.admission import listener_files as credentials
from routerd.admission.listener import STRANGERS, WATCH_SECONDS, ListenerKeeper, _room
from routerd.control.ports import PREFIX
from routerd.model.intent import Intent
from routerd.model.names import NodeName
from routerd.model.resource import Resource, ResourceId
from routerd.model.specs import ControlAPISpec, SecretSource
from routerd.model.specs.system import ControlTLSSpec
from routerd.plugins.join_methods import JoinMethods
from routerd.store import open_store
from routerd.testing.clock import FakeClock
from routerd.testing.context import RecordingLogger

NOWHERE = f"{PREFIX}/nowhere"
"""A path that is not there: 404 is the answer to a client that has passed every check."""
WATCHED = WATCH_SECONDS + 1


def openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


def certificate(directory: Path, name: str, *, days: int = 90) -> tuple[Path, Path]:
    cert, key = directory / f"{name}.pem", directory / f"{name}.key"
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-keyout", key, "-out", cert, "-days", str(days), "-subj", f"/CN={name}"),
        *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
    )
    return cert, key


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    directory = tmp_path_factory.mktemp("made")
    return {name: certificate(directory, name) for name in ("one", "two", "client")}


@attrs.define
class Door:
    """An `ListenerKeeper` that listens on a free port of loopback, with its files in `directory`."""

    directory: Path
    clock: FakeClock
    spec: ControlAPISpec
    log: RecordingLogger = attrs.field(factory=RecordingLogger)
    admission: ListenerKeeper = attrs.field(init=False)
    running: asyncio.Task[None] = attrs.field(init=False)

    @property
    def port(self) -> int:
        assert self.admission._open is not None
        port: int = self.admission._open.listener.addresses[0][1]
        return port

    def write(self, name: str, content: bytes) -> None:
        """Replace a file by one of another size or another inode, as a program that renews would."""
        fresh = self.directory / f".{name}"
        fresh.write_bytes(content)
        fresh.replace(self.directory / name)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds():
                await self.clock.advance(1)

    async def shown(self, *, client: tuple[Path, Path] | None = None) -> bytes:
        """Return the certificate that a new connection is shown, after a byte was answered on it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if client is not None:
            context.load_cert_chain(*client)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context)
        try:
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            if not await reader.read(1):
                raise ConnectionResetError
            found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            return found
        finally:
            writer.close()


@asynccontextmanager
async def opened(directory: Path, clock: FakeClock, spec: ControlAPISpec) -> AsyncIterator[Door]:
    """Run an `ListenerKeeper` with that `ControlAPI` until the end of the block."""
    it = Door(directory, clock, spec)
    intent = Intent(
        node=NodeName("rr"), resources=[Resource(id=ResourceId("x", "ControlAPI", "c"), spec=spec)]
    )
    with closing(open_store(directory / "state.db", clock=clock)) as store:
        it.admission = ListenerKeeper(
            store=store,
            intent=lambda: intent,
            methods=JoinMethods({}, log=it.log),
            clock=clock,
            log=it.log,
            on_change=lambda _: None,
        )
        it.running = asyncio.create_task(it.admission.run())
        try:
            await it.until(lambda: it.admission.listening != "")
            yield it
        finally:
            it.running.cancel()
            await asyncio.wait([it.running])


@pytest.fixture
async def door(
    tmp_path: Path, fake_clock: FakeClock, made: dict[str, tuple[Path, Path]]
) -> AsyncIterator[Door]:
    tls = ControlTLSSpec(
        cert_file=tmp_path / "cert.pem", key_file=tmp_path / "key.pem", client_ca_file=tmp_path / "ca.pem"
    )
    spec = ControlAPISpec(
        port=0,
        allow_cidrs=(IPv4Network("127.0.0.0/8"),),
        token_from=SecretSource(file=tmp_path / "token"),
        tls=tls,
    )
    files = Door(tmp_path, fake_clock, spec)
    put(files, made["one"])
    files.write("ca.pem", made["client"][0].read_bytes())
    files.write("token", b"first")
    async with opened(tmp_path, fake_clock, spec) as it:
        yield it


def put(door: Door, pair: tuple[Path, Path]) -> None:
    door.write("cert.pem", pair[0].read_bytes())
    door.write("key.pem", pair[1].read_bytes())


def der(pair: tuple[Path, Path]) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair[0].read_text())


class TestReload:
    async def test_a_new_certificate_is_shown_to_new_connections_and_old_ones_go_on(
        self, door: Door, made: dict[str, tuple[Path, Path]]
    ) -> None:
        trusting = ssl.create_default_context(cafile=str(made["one"][0]))
        trusting.load_cert_chain(*made["client"])
        url = f"https://127.0.0.1:{door.port}{NOWHERE}"
        headers = {"Authorization": "Bearer first"}
        async with aiohttp.ClientSession(headers=headers) as session:
            async with session.get(url, ssl=trusting) as response:
                assert response.status == 404
            put(door, made["two"])
            await door.until(lambda: "enrollment.files.read" in door.log.events())
            shown = await asyncio.gather(*(door.shown(client=made["client"]) for _ in range(8)))
            assert set(shown) == {der(made["two"])}
            assert len(door.admission._open.listener.sites) == 1  # type: ignore[union-attr]  # open
            # It trusts the old certificate alone, so this is the old connection.
            async with session.get(url, ssl=trusting) as response:
                assert response.status == 404
        async with aiohttp.ClientSession(headers=headers) as session:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await session.get(url, ssl=trusting)
        assert door.admission.trouble == ""

    async def test_a_new_client_ca_counts_and_the_old_one_no_more(
        self, door: Door, made: dict[str, tuple[Path, Path]]
    ) -> None:
        assert await door.shown(client=made["client"]) == der(made["one"])
        door.write("ca.pem", made["two"][0].read_bytes())
        await door.until(lambda: "enrollment.files.read" in door.log.events())
        assert await door.shown(client=made["two"]) == der(made["one"])
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await door.shown(client=made["client"])

    async def test_a_new_token_counts_and_the_old_one_no_more(
        self, door: Door, made: dict[str, tuple[Path, Path]]
    ) -> None:
        trusting = ssl.create_default_context(cafile=str(made["one"][0]))
        trusting.load_cert_chain(*made["client"])
        url = f"https://127.0.0.1:{door.port}{NOWHERE}"

        async def status(token: str) -> int:
            headers = {"Authorization": f"Bearer {token}"}
            async with (
                aiohttp.ClientSession() as session,
                session.get(url, ssl=trusting, headers=headers) as it,
            ):
                return it.status

        assert [await status("first"), await status("second")] == [404, 401]
        door.write("token", b"second\n")
        await door.until(lambda: "enrollment.files.read" in door.log.events())
        assert [await status("first"), await status("second")] == [401, 404]

    async def test_nothing_is_read_while_nothing_changes(self, door: Door) -> None:
        for _ in range(4):
            await door.clock.advance(WATCHED)
        assert "enrollment.files.read" not in door.log.events()

    async def test_files_are_looked_at_every_few_seconds_only(
        self, door: Door, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looked = []
        stamp = credentials.stamp
        monkeypatch.setattr(credentials, "stamp", lambda spec: looked.append(1) or stamp(spec))
        for _ in range(30):
            await door.clock.advance(1)
        assert 8 <= len(looked) <= 10


class TestUnusable:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("cert.pem", b"-----BEGIN CERTIFICATE-----\nMIIB"),
            ("cert.pem", b""),
            ("key.pem", b"-----BEGIN PRIVATE KEY-----\nMIGH"),
            ("ca.pem", b"nothing of the kind"),
            ("token", b"\n"),
        ],
    )
    async def test_what_was_read_before_is_used_and_it_is_said_once_until_it_is_mended(
        self, door: Door, made: dict[str, tuple[Path, Path]], name: str, content: bytes
    ) -> None:
        good = (door.directory / name).read_bytes()
        door.write(name, content)
        await door.until(lambda: door.admission.trouble != "")
        assert str(door.directory / name) in door.admission.trouble
        assert "routerd uses the earlier content" in door.admission.trouble
        assert await door.shown(client=made["client"]) == der(made["one"])
        for _ in range(4):
            await door.clock.advance(WATCHED)
        assert door.log.events("error") == ["enrollment.files.unusable"]
        door.write(name, good)
        await door.until(lambda: door.admission.trouble == "")
        assert await door.shown(client=made["client"]) == der(made["one"])

    async def test_a_key_that_does_not_match_yet_is_waited_for(
        self, door: Door, made: dict[str, tuple[Path, Path]]
    ) -> None:
        door.write("cert.pem", made["two"][0].read_bytes())
        await door.until(lambda: door.admission.trouble != "")
        assert await door.shown(client=made["client"]) == der(made["one"])
        door.write("key.pem", made["two"][1].read_bytes())
        await door.until(lambda: door.admission.trouble == "")
        assert await door.shown(client=made["client"]) == der(made["two"])

    async def test_a_file_that_is_gone_for_a_moment_ends_nothing(
        self, door: Door, made: dict[str, tuple[Path, Path]]
    ) -> None:
        aside = (door.directory / "cert.pem").rename(door.directory / "aside")
        await door.until(lambda: door.admission.trouble != "")
        assert await door.shown(client=made["client"]) == der(made["one"])
        aside.rename(door.directory / "cert.pem")
        await door.until(lambda: door.admission.trouble == "")

    async def test_a_key_with_a_passphrase_asks_nobody(
        self, door: Door, made: dict[str, tuple[Path, Path]]
    ) -> None:
        locked = door.directory / "locked"
        openssl("pkcs8", "-topk8", "-in", made["one"][1], "-out", locked, "-passout", "pass:x")
        door.write("key.pem", locked.read_bytes())
        await door.until(lambda: door.admission.trouble != "")
        assert "key.pem" in door.admission.trouble


class TestEnd:
    async def test_it_is_said_two_weeks_before_a_certificate_ends_and_when_it_has(self, door: Door) -> None:
        ends = credentials.end_of(door.directory / "cert.pem")
        door.clock.jump(ends - timedelta(days=15) - door.clock.now())
        await door.clock.advance(1)
        assert door.admission.notes() == []
        door.clock.jump(timedelta(days=1, hours=1))
        await door.clock.advance(5)
        (note,) = door.admission.notes()
        assert f"cert.pem expires at {ends:%Y-%m-%dT%H:%M:%SZ}" in note
        door.clock.jump(timedelta(days=14))
        await door.clock.advance(5)
        assert "expired" in door.admission.notes()[0]
        assert door.log.events("warning") == ["enrollment.certificate.ends"] * 2

    def test_the_end_is_that_of_the_first_certificate(
        self, made: dict[str, tuple[Path, Path]], tmp_path: Path
    ) -> None:
        longer = certificate(tmp_path, "longer", days=20_000)[0]
        for file in (longer, made["one"][0]):
            told = subprocess.run(
                ["openssl", "x509", "-in", file, "-noout", "-enddate"],
                capture_output=True,
                check=True,
                text=True,
            ).stdout
            end = datetime.strptime(told.strip(), "notAfter=%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
            chain = tmp_path / "chain.pem"
            chain.write_bytes(made["one"][1].read_bytes() + file.read_bytes() + made["two"][0].read_bytes())
            assert credentials.end_of(chain) == end

    def test_what_is_no_certificate_is_named(self, tmp_path: Path) -> None:
        file = tmp_path / "cert.pem"
        for content in (b"", b"\0" * 64, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
            file.write_bytes(content)
            with pytest.raises(credentials.ConfigError, match=r"cert\.pem"):
                credentials.end_of(file)


def test_the_token_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hidden-token")
    os.utime(tmp_path / "token")
    spec = ControlAPISpec(token_from=SecretSource(file=tmp_path / "token"))
    assert "hidden" not in repr(credentials.read(spec))


GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def test_strangers_have_connections_of_their_own_and_take_none_of_the_others(
    tmp_path: Path, fake_clock: FakeClock
) -> None:
    spec = ControlAPISpec(port=0, allow_cidrs=(IPv4Network("127.0.0.1/32"),))
    async with opened(tmp_path, fake_clock, spec) as door:

        async def answer(source: str) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", door.port, local_addr=(source, 0))
            writer.write(GET)
            try:
                return await reader.read()
            finally:
                writer.close()

        strangers = [f"127.0.1.{number}" for number in range(1, STRANGERS // 4 + 1)]
        held = [
            (await asyncio.open_connection("127.0.0.1", door.port, local_addr=(source, 0)))[1]
            for source in strangers
            for _ in range(4)
        ]
        for one_too_many in (strangers[0], "127.0.2.1"):
            with pytest.raises(ConnectionResetError):
                await answer(one_too_many)
        assert b" 404 " in await answer("127.0.0.1")
        for writer in held:
            writer.close()
            await writer.wait_closed()
        await fake_clock.settle()
        assert b" 403 " in await answer(strangers[0])


@pytest.mark.parametrize(
    ("limits", "set_to", "room"),
    [
        ((1024, 524288), (4096, 524288), 2048),
        ((1024, 1024), (1024, 1024), 512),
        ((1024, resource.RLIM_INFINITY), (4096, resource.RLIM_INFINITY), 2048),
        ((65536, 65536), None, 2048),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), None, 2048),
    ],
)
def test_half_of_the_files_are_left_for_the_rest_of_the_router(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], set_to: tuple[int, int] | None, room: int
) -> None:
    done = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: done.append(wanted))
    assert _room() == room
    assert done == ([set_to] if set_to else [])
