"""The Unix socket of wireguard-go: its requests and answers, and odd answers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import traceback
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from plugins.transport_wireguard.tests.wireguard_samples import FIRST, WG, peer_key

from routerd.errors import PermanentError, ProviderError, TransientError
from routerd.model.tunnel import Endpoint
from routerd_transport_wireguard import uapi
from routerd_transport_wireguard.device import NO_PRESHARED_KEY, PeerSetting
from routerd_transport_wireguard.keys import public_key_of
from routerd_transport_wireguard.uapi import UserspacePort

PRIVATE = bytes(range(32))


@contextlib.asynccontextmanager
async def program(directory: Path, answer: str) -> AsyncIterator[list[str]]:
    """Answer every request alike; yields the requests."""
    requests: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            requests.append((await reader.readuntil(b"\n\n")).decode())
            writer.write(answer.encode(errors="surrogateescape"))
            await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(serve, directory / f"{WG}.sock")
    async with server:
        yield requests


def hexed(number: int) -> str:
    return base64.b64decode(peer_key(number)).hex()


async def test_a_device_is_read_with_its_peers(tmp_path: Path) -> None:
    answer = (
        f"private_key={PRIVATE.hex()}\nlisten_port=51820\nfwmark=1\n"
        f"public_key={hexed(1)}\npreshared_key={'07' * 32}\nprotocol_version=1\nendpoint=127.0.0.9:51820\n"
        "last_handshake_time_sec=5\nlast_handshake_time_nsec=6\ntx_bytes=7\nrx_bytes=8\n"
        "persistent_keepalive_interval=25\nallowed_ip=10.0.0.1/32\nallowed_ip=fd00::1/128\n"
        f"public_key={hexed(2)}\npreshared_key={'00' * 32}\nendpoint=[fd00::1]:51820\n"
        "allowed_ip=10.0.0.2/32\n"
        "errno=0\n\n"
    )
    async with program(tmp_path, answer) as requests:
        dump = await UserspacePort(tmp_path).read(WG)
    assert requests == ["get=1\n\n"]
    assert dump is not None
    assert (dump.public_key, dump.listen_port) == (public_key_of(PRIVATE), 51820)
    first, second = dump.peers[peer_key(1)], dump.peers[peer_key(2)]
    assert first.endpoint == Endpoint(address=IPv4Address("127.0.0.9"), port=51820)
    assert first.allowed_ips == {IPv4Network("10.0.0.1/32")}
    assert (first.keepalive, first.last_handshake, first.rx_bytes, first.tx_bytes) == (25, 5, 8, 7)
    assert (first.preshared_key, second.preshared_key) == (bytes([7]) * 32, NO_PRESHARED_KEY)
    assert second.endpoint is None


async def test_a_peer_gets_only_the_given_settings(tmp_path: Path) -> None:
    async with program(tmp_path, "errno=0\n\n") as requests:
        port = UserspacePort(tmp_path)
        await port.set_peer(
            WG,
            PeerSetting(
                public_key=peer_key(1),
                allowed_ips=frozenset({IPv4Network("10.0.0.2/32"), IPv4Network("10.0.0.1/32")}),
                endpoint=FIRST,
                keepalive=25,
                preshared_key=PRIVATE,
            ),
        )
        await port.set_peer(WG, PeerSetting(public_key=peer_key(1)))
        await port.set_peer(WG, PeerSetting(public_key=peer_key(1), remove=True))
        await port.configure(WG, private_key=None, listen_port=7)
    whole = (
        "endpoint=127.0.0.9:51820\npersistent_keepalive_interval=25\n"
        "replace_allowed_ips=true\nallowed_ip=10.0.0.1/32\nallowed_ip=10.0.0.2/32\n\n"
    )
    begin = f"set=1\npublic_key={hexed(1)}\n"
    assert requests == [
        f"{begin}preshared_key={PRIVATE.hex()}\n{whole}",
        f"{begin}persistent_keepalive_interval=0\nreplace_allowed_ips=true\n\n",
        f"{begin}remove=true\n\n",
        "set=1\nlisten_port=7\n\n",
    ]


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        ("errno=-22\n\n", PermanentError, "invalid argument"),
        ("errno=-98\n\n", TransientError, "ss -lun"),
        ("errno=-5\n\n", TransientError, "input/output error"),
        ("errno=x\n\n", TransientError, "is not WireGuard"),
        ("hello\n\n", TransientError, "is not WireGuard"),
        ("\n\n", TransientError, "is not WireGuard"),
        ("\udcff\n\n", TransientError, "is not WireGuard"),
        ("allowed_ip=x\nlisten_port=y\nerrno=0\n\n", TransientError, "does not answer like WireGuard"),
        (f"private_key={PRIVATE.hex()}\n", TransientError, "stopped answering"),
    ],
)
async def test_odd_answers_are_errors_without_secrets(
    tmp_path: Path, answer: str, kind: type[ProviderError], text: str
) -> None:
    async with program(tmp_path, answer):
        with pytest.raises(kind, match=text) as raised:
            await UserspacePort(tmp_path).read(WG)
    assert f"wireguard {WG}" in str(raised.value)
    assert PRIVATE.hex() not in "".join(traceback.format_exception(raised.value))


async def test_a_hanging_program_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uapi, "DEADLINE", 0.05)
    ended = asyncio.Event()

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ended.wait()
        writer.close()

    async with await asyncio.start_unix_server(serve, tmp_path / f"{WG}.sock"):
        with pytest.raises(TransientError, match="did not answer in"):
            await UserspacePort(tmp_path).read(WG)
        ended.set()


async def test_without_a_socket_or_with_a_stale_one_there_is_no_device(tmp_path: Path) -> None:
    port = UserspacePort(tmp_path)
    assert await port.read(WG) is None
    async with program(tmp_path, ""):
        pass
    if not port.socket(WG).exists():
        # Newer Pythons take a server's socket away with it.
        (await asyncio.start_unix_server(lambda *_: None, port.socket(WG))).close()
    assert await port.read(WG) is None
    with pytest.raises(TransientError, match="not running"):
        await port.configure(WG, private_key=None, listen_port=1)
    assert not await port.answers(WG)
    assert not port.socket(WG).exists()
    assert not await port.answers(WG)
