"""The emulated host over HTTPS under its real name, and a fabric that is started on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler
from plugins.cloud_pve.tests.pve_world import TOKEN, Home, options, started
from tests.support.loopback import Api, on_loopback

from routerd_cloud_pve.plugin import PveFabric


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    """Run the host's API; its real name leads to it."""
    home = Home()
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
    (tmp_path / "token").write_text(TOKEN + "\n")
    async with on_loopback(tmp_path, Api(app=app, names=("pve.example",), port=8006)):
        yield home


@pytest.fixture
async def fabric(home: Home, tmp_path: Path) -> AsyncIterator[PveFabric]:
    """A started fabric."""
    async with started(tmp_path, options(tmp_path)) as fabric:
        yield fabric
