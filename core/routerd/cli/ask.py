"""Questions to a running daemon."""

from __future__ import annotations

import asyncio

from routerd.cli.settings import Settings
from routerd.control.client import Document, Method, request, request_text


def ask(settings: Settings, path: str, method: Method = "GET", *, body: Document | None = None) -> Document:
    """Return the daemon's answer; `ControlError` when there is none."""
    return asyncio.run(request(settings.directories.admin_socket, method, path, body=body))


def ask_text(settings: Settings, path: str) -> str:
    """Return the daemon's answer as it is; `ControlError` when there is none."""
    return asyncio.run(request_text(settings.directories.admin_socket, path))
