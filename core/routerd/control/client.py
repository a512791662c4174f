"""Talks to a running daemon's admin socket; every failure is one sentence with a remedy.

It uses the standard library's client: scripts run these commands by the hundred, and aiohttp takes
longer to import than the daemon takes to answer.
"""

import http.client
import json
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Literal, cast

from routerd.errors import ActionRefused, ConfigError, ControlError, EnrollmentRefused, Problem
from routerd.model.json_value import JSONValue

Document = dict[str, JSONValue]
Method = Literal["GET", "POST"]

DEADLINE = 30.0

_REMEDY = "start routerd, or name its directory with --run-dir"


def request(
    path: Path, method: Method, target: str, *, body: Document | None = None, deadline: float = DEADLINE
) -> Document:
    """Return the JSON that the daemon at the socket `path` answers.

    Raises `ControlError` when no daemon answers within `deadline` seconds or it refuses,
    `ConfigError` when it found the configuration wrong, `EnrollmentRefused` when it may not do that
    with a claim, and `ActionRefused` when it may not do it with a change of a cloud.
    """
    return _object(path, _ask(path, method, target, body, deadline))


def request_text(path: Path, target: str, *, deadline: float = DEADLINE) -> str:
    """Return the text that the daemon answers to a GET; raises as `request` does."""
    return _ask(path, "GET", target, None, deadline)


def is_there(path: Path) -> bool:
    """Say whether the socket exists; `ControlError` when only root may look."""
    try:
        return path.exists()
    except PermissionError as error:
        raise _root_only(path) from error


class _Connection(http.client.HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, path: Path, deadline: float) -> None:
        super().__init__("routerd", timeout=deadline)
        self._path = path

    def connect(self) -> None:
        self.sock = socket(AF_UNIX, SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _ask(path: Path, method: Method, target: str, body: Document | None, deadline: float) -> str:
    if not is_there(path):
        raise ControlError(f"{path}: no daemon; the socket does not exist; {_REMEDY}")
    content = None if body is None else json.dumps(body).encode()
    headers = {} if body is None else {"Content-Type": "application/json"}
    connection = _Connection(path, deadline)
    try:
        connection.request(method, target, body=content, headers=headers)
        response = connection.getresponse()
        answer = response.read().decode()
    except TimeoutError as error:
        raise ControlError(
            f"{path}: no answer within {deadline:g} s; try again, or restart the daemon"
        ) from error
    except PermissionError as error:
        raise _root_only(path) from error
    except (http.client.HTTPException, OSError, UnicodeDecodeError) as error:
        raise ControlError(f"{path}: no daemon answers; {error}; {_REMEDY}") from error
    finally:
        connection.close()
    if response.status >= 400:
        raise _refusal(f"{method} {target}", response.reason or str(response.status), answer)
    return answer


def _root_only(path: Path) -> ControlError:
    return ControlError(f"{path}: permission denied; only root may open it; try again with sudo")


def _object(path: Path, content: str) -> Document:
    try:
        return cast("Document", json.loads(content))
    except ValueError as error:
        raise ControlError(f"the process at {path} is not routerd: its answer was not JSON") from error


def _refusal(asked: str, words: str, content: str) -> ConfigError | ControlError | EnrollmentRefused:
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        # A path that this daemon does not serve; it may be older than the command.
        return ControlError(f"routerd refused {asked}: {words}; if it is of another version, restart it")
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
