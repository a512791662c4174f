"""Talks to a running daemon's admin socket; every failure is one sentence that says what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, cast

import aiohttp

from routerd.errors import ActionRefused, ConfigError, ControlError, EnrollmentRefused, Problem
from routerd.spi import JSONValue

Document = dict[str, JSONValue]
Method = Literal["GET", "POST"]

DEADLINE = 30.0


async def request(
    socket: Path, method: Method, path: str, *, body: Document | None = None, deadline: float = DEADLINE
) -> Document:
    """Return the JSON that the daemon answers.

    Raises `ControlError` when no daemon answers within `deadline` seconds or it refuses,
    `ConfigError` when it found the configuration wrong, `EnrollmentRefused` when it may not do that
    with a claim, and `ActionRefused` when it may not do it with a change of a cloud.
    """
    return _object(socket, await _ask(socket, method, path, body, deadline))


async def request_text(socket: Path, path: str, *, deadline: float = DEADLINE) -> str:
    """Return the text that the daemon answers to a GET; raises as `request` does."""
    return await _ask(socket, "GET", path, None, deadline)


def is_there(socket: Path) -> bool:
    """Say whether the socket exists; `ControlError` when only root may look."""
    try:
        return socket.exists()
    except PermissionError as error:
        raise ControlError(f"{socket} may be opened by root only; try again with sudo") from error


async def _ask(socket: Path, method: Method, path: str, body: Document | None, deadline: float) -> str:
    if not is_there(socket):
        raise ControlError(
            f"no routerd is running here: {socket} does not exist (--run-dir names another place)"
        )
    timeout = aiohttp.ClientTimeout(total=deadline)
    try:
        connector = aiohttp.UnixConnector(path=str(socket))
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.request(method, f"http://routerd{path}", json=body) as response,
        ):
            content = await response.text()
            if response.status >= 400:
                raise _refusal(f"{method} {path}", response.reason or str(response.status), content)
            return content
    except TimeoutError as error:
        raise ControlError(f"routerd at {socket} did not answer within {deadline:g} s") from error
    except PermissionError as error:
        raise ControlError(f"{socket} may be opened by root only; try again with sudo") from error
    except (aiohttp.ClientError, OSError) as error:
        raise ControlError(f"no routerd answers at {socket}: {error}") from error


def _object(socket: Path, content: str) -> Document:
    try:
        return cast("Document", json.loads(content))
    except ValueError as error:
        raise ControlError(f"what answers at {socket} is no routerd: it sent no JSON") from error


def _refusal(asked: str, words: str, content: str) -> ConfigError | ControlError | EnrollmentRefused:
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        # A path that this daemon does not serve; it may be older than the command.
        return ControlError(f"routerd refused {asked}: {words}; is the running daemon of another version?")
    text = str(document.get("error", words))
    if "problems" in document:
        return ConfigError(_problems(document))
    if document.get("refused") is True:
        return ActionRefused(text)
    if "reason" in document:
        return EnrollmentRefused(str(document["reason"]), text)
    return ControlError(f"routerd refused {asked}: {text}")


def _problems(document: Document) -> list[Problem]:
    texts = cast("list[str]", document["problems"])
    return [Problem(file="", line=0, resource="", path="", message=text) for text in texts]
