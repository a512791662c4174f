"""Questions to a running daemon."""

from typing import TypeVar

from routerd.cli.share.settings import Settings
from routerd.control.client import DEADLINE, Document, Method, request, request_text
from routerd.control.wire import from_document
from routerd.errors import ControlError

T = TypeVar("T")


def ask(
    settings: Settings,
    path: str,
    kind: type[T],
    method: Method = "GET",
    *,
    body: Document | None = None,
    deadline: float = DEADLINE,
) -> T:
    """Return the daemon's report; `ControlError` when there is none within `deadline` seconds."""
    socket = settings.directories.admin_socket
    answer = request(socket, method, path, body=body, deadline=deadline)
    try:
        return from_document(answer, kind)
    except ValueError as error:
        raise ControlError(f"{socket}: the daemon is of another version; {error}; restart it") from error


def tell(settings: Settings, path: str) -> None:
    """Have the daemon do something that has no report; raises as `ask` does."""
    request(settings.directories.admin_socket, "POST", path)


def ask_text(settings: Settings, path: str) -> str:
    """Return the daemon's answer as it is; `ControlError` when there is none."""
    return request_text(settings.directories.admin_socket, path)
