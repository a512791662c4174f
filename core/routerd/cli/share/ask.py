"""Questions to a running daemon."""

from __future__ import annotations

import asyncio

from routerd.cli.share.settings import Settings
from routerd.control.client import DEADLINE, Document, Method, request, request_text


def ask(
    settings: Settings,
    path: str,
    method: Method = "GET",
    *,
    body: Document | None = None,
    deadline: float = DEADLINE,
) -> Document:
    """Return the daemon's answer; `ControlError` when there is none within `deadline` seconds."""
    socket = settings.directories.admin_socket
    return asyncio.run(request(socket, method, path, body=body, deadline=deadline))


def ask_text(settings: Settings, path: str) -> str:
    """Return the daemon's answer as it is; `ControlError` when there is none."""
    return asyncio.run(request_text(settings.directories.admin_socket, path))
