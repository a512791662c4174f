"""The emulated host over HTTPS under its real name, and a fabric that is started on it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler
from plugins.cloud_pve.tests.pve_world import (
    TOKEN,
    Home,
    options,
    started,
)

from routerd_cloud_pve.fabric import PveFabric
from routerd_lab.certificates import Authority


@pytest.fixture
async def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Home]:
    """Run the host's API; its real name leads to it."""
    home = Home()
    authority = Authority()
    authority.write_certificate(tmp_path / "ca.pem")
    authority.write_server(tmp_path / "server.pem", ("pve.example",), IPv4Address("127.0.0.1"))
    (tmp_path / "token").write_text(TOKEN + "\n")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "server.pem")
    app = home.host.app()

    @web.middleware
    async def another_server(request: web.Request, handler: Handler) -> web.StreamResponse:
        if home.mute and request.path.endswith("/exec"):
            home.asked += 1
            if home.mute == "hangs":
                await home.released.wait()
            assert request.transport is not None
            request.transport.abort()
        if home.answer_with_pages:
            return web.Response(text="<html>It works!</html>", content_type="text/html")
        return await handler(request)

    app.middlewares.append(another_server)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    port = runner.addresses[0][1]
    resolve = socket.getaddrinfo

    def redirected(host: Any, asked: Any, *args: Any, **kwargs: Any) -> Any:
        if (host, int(asked or 0)) == ("pve.example", 8006):
            return resolve("127.0.0.1", port, *args, **kwargs)
        return resolve(host, asked, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", redirected)
    for name in ("HTTPS_PROXY", "https_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    yield home
    for connection in runner.server.connections if runner.server else ():
        if connection.transport is not None:
            connection.transport.abort()
    await runner.cleanup()
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
async def fabric(home: Home, tmp_path: Path) -> AsyncIterator[PveFabric]:
    """A started fabric."""
    async with started(tmp_path, options(tmp_path)) as fabric:
        yield fabric
