"""Talks to a running daemon's admin socket; every failure is one sentence that says what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

import aiohttp

from routerd.errors import ConfigError, ControlError, Problem
from routerd.spi import JSONValue

Document = dict[str, JSONValue]


async def request(
    socket: Path, method: Literal["GET", "POST"], path: str, *, deadline: float = 30.0
) -> Document:
    """Return the JSON that the daemon answers.

    Raises `ControlError` when no daemon answers within `deadline` seconds or it refuses, and
    `ConfigError` when it found the configuration wrong.
    """
    if not is_there(socket):
        raise ControlError(
            f"no routerd is running here: {socket} does not exist (--run-dir names another place)"
        )
    timeout = aiohttp.ClientTimeout(total=deadline)
    try:
        connector = aiohttp.UnixConnector(path=str(socket))
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.request(method, f"http://routerd{path}") as response,
        ):
            document = cast("Document", await response.json())
            if response.status == 400 and "problems" in document:
                raise ConfigError(_problems(document))
            if response.status >= 400:
                raise ControlError(
                    f"routerd refused {method} {path}: {document.get('error', response.reason)}"
                )
            return document
    except TimeoutError as error:
        raise ControlError(f"routerd at {socket} did not answer within {deadline:g} s") from error
    except PermissionError as error:
        raise ControlError(f"{socket} may be opened by root only; try again with sudo") from error
    except (aiohttp.ClientError, OSError) as error:
        raise ControlError(f"no routerd answers at {socket}: {error}") from error


def is_there(socket: Path) -> bool:
    """Say whether the socket exists; `ControlError` when only root may look."""
    try:
        return socket.exists()
    except PermissionError as error:
        raise ControlError(f"{socket} may be opened by root only; try again with sudo") from error


def _problems(document: Document) -> list[Problem]:
    texts = cast("list[str]", document["problems"])
    return [Problem(file="", line=0, resource="", path="", message=text) for text in texts]
