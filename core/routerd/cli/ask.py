"""Questions to a running daemon."""

from __future__ import annotations

import asyncio
from typing import Literal

from routerd.cli.settings import Settings
from routerd.control.client import Document, request


def ask(settings: Settings, path: str, method: Literal["GET", "POST"] = "GET") -> Document:
    """Return the daemon's answer; `ControlError` when there is none."""
    return asyncio.run(request(settings.directories.admin_socket, method, path))
