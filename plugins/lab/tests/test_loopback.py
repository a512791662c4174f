"""Emulated clouds answer under their real names in this process, and nothing else is changed."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from aiohttp import web
from tests.support.loopback import METADATA, Api, metadata, on_loopback

pytestmark = pytest.mark.cloud


def says(text: str) -> web.Application:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=f"{text} at {request.host}")

    app = web.Application()
    app.router.add_get("/", answer)
    return app


def fetched(url: str, trusted: Path | None = None) -> str:
    context = ssl.create_default_context(cafile=str(trusted)) if trusted else None
    handlers = [urllib.request.HTTPSHandler(context=context)] if context else []
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), *handlers)
    with opener.open(url, timeout=10) as answer:
        return str(answer.read().decode())


async def test_each_name_leads_to_its_own_server_and_is_certified(tmp_path: Path) -> None:
    apis = (
        Api(app=says("network"), names=("iaas.example", "auth.example")),
        Api(app=says("host"), names=("pve.example",), port=8006),
        metadata(says("metadata")),
    )
    async with on_loopback(tmp_path, *apis) as trusted:
        for url, answer in (
            ("https://iaas.example/", "network at iaas.example"),
            ("https://auth.example/", "network at auth.example"),
            ("https://pve.example:8006/", "host at pve.example:8006"),
            (f"http://{METADATA}/", f"metadata at {METADATA}"),
        ):
            assert await asyncio.to_thread(fetched, url, trusted) == answer


async def test_a_name_is_served_on_its_usual_port_only(tmp_path: Path) -> None:
    async with on_loopback(tmp_path, Api(app=says("host"), names=("pve.invalid",), port=8006)) as trusted:
        with pytest.raises(urllib.error.URLError):
            await asyncio.to_thread(fetched, "https://pve.invalid/", trusted)


async def test_afterwards_everything_is_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid")
    before, resolve = dict(os.environ), socket.getaddrinfo
    async with on_loopback(tmp_path, Api(app=says("network"), names=("iaas.example",))) as trusted:
        assert os.environ["REQUESTS_CA_BUNDLE"] == str(trusted)
        assert "HTTPS_PROXY" not in os.environ
    assert dict(os.environ) == before
    assert socket.getaddrinfo is resolve


async def test_who_breaks_off_leaves_nothing_patched(tmp_path: Path) -> None:
    before, resolve = dict(os.environ), socket.getaddrinfo
    with pytest.raises(ZeroDivisionError):
        async with on_loopback(tmp_path, Api(app=says("network"), names=("iaas.example",))):
            raise ZeroDivisionError
    assert dict(os.environ) == before
    assert socket.getaddrinfo is resolve
