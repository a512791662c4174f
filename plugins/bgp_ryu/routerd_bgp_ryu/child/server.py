"""Listens on the Unix socket, answers the daemon's requests, and reports changes."""

import argparse
import contextlib
import fcntl
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import eventlet
from eventlet import event, semaphore

from routerd.model.addresses import IPAddress
from routerd.model.session import Advertisement, ImportPolicy, Session, Speaker
from routerd_bgp_ryu.child.quiet import Quiet
from routerd_bgp_ryu.child.speaker import BgpSpeaker
from routerd_bgp_ryu.wire import MAX_REQUEST, VERSION, Document, decode, encode, from_document, to_document

COALESCE = 0.05
"""Seconds from a change to its notice, which covers all changes until then."""

SETTLE = 1.0
"""Seconds without a new route after which the routes count as complete, if all sessions are up."""

ALONE_DEADLINE = 10.0
"""Seconds for an earlier process to end."""

STOP_DEADLINE = 5.0
"""Seconds for the NOTIFICATIONs to all neighbours."""

LOG_LIMIT = 2 << 20
"""Octets of the log before it rotates; one old file stays."""


class Controller:
    """A connected daemon; it gets its answers in order, and a notice after a change."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._turn = semaphore.Semaphore()
        self._noticed = False

    def send(self, message: Document) -> None:
        """Send a message; the next request waits until the daemon has read it."""
        with self._turn:
            self._connection.sendall(encode(message))

    def notice(self) -> None:
        """Report a change soon, and many changes once: the daemon then asks for everything."""
        if not self._noticed:
            self._noticed = True
            eventlet.spawn_after(COALESCE, self._notify)

    def _notify(self) -> None:
        with self._turn:
            self._noticed = False
            with contextlib.suppress(OSError):
                self._connection.sendall(encode({"event": "changed"}))


class Server:
    """Serves one speaker to the daemons that connect, usually one after the other."""

    def __init__(self, path: Path, *, grace: float, stale: float) -> None:
        self._path = path
        self._grace = grace
        self._stale = stale
        self._speaker: BgpSpeaker | None = None
        self._started = time.monotonic()
        self._settled = False
        self._all_up_since: float | None = None
        self._controllers: set[Controller] = set()
        self._alone_since = time.monotonic()
        self._stop = event.Event()
        self._again = False

    def listen(self) -> None:
        """Open the socket, for its owner only."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
            # A process that ends in order removes the socket, and so does a start of the host.
            self._again = True
        listener.bind(str(self._path))
        self._path.chmod(0o600)
        listener.listen(8)
        eventlet.spawn(self._accept, listener)

    def run(self) -> None:
        """Serve until `stop`, or until no daemon has been connected for the grace time."""
        eventlet.spawn(self._watch)
        self._stop.wait()
        if self._speaker is not None:
            self._part(self._speaker)
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    @staticmethod
    def _part(speaker: BgpSpeaker) -> None:
        """End all sessions; neither a slow neighbour nor the library may keep the process alive."""
        try:
            with eventlet.Timeout(STOP_DEADLINE, exception=False):
                speaker.stop()
                eventlet.sleep(0.2)
        except Exception:  # the library raises its own kinds; the daemon waits until the socket has gone
            logging.getLogger("routerd").exception("stop failed")

    def stop(self) -> None:
        """End `run`."""
        if not self._stop.ready():
            self._stop.send()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            connection, _ = listener.accept()
            eventlet.spawn(self._serve, connection)

    def _watch(self) -> None:
        """Notice that no daemon is connected, and that the sessions have settled."""
        while True:
            eventlet.sleep(0.25)
            now = time.monotonic()
            if self._controllers:
                self._alone_since = now
            elif now - self._alone_since > self._grace:
                self.stop()
                return
            if self._speaker is not None:
                self._speaker.check()
                if not self._settled:
                    self._settle(self._speaker, now)

    def _settle(self, speaker: BgpSpeaker, now: float) -> None:
        heard = speaker.settles()
        self._all_up_since = None if heard is None else self._all_up_since or now
        quiet = heard is not None and now - max(self._all_up_since or now, heard) >= SETTLE
        if quiet or now - self._started > self._stale:
            self._settled = True
            speaker.settle()
            self._changed()

    def _changed(self) -> None:
        for controller in self._controllers:
            controller.notice()

    def _serve(self, connection: socket.socket) -> None:
        controller = Controller(connection)
        stream = connection.makefile("rb")
        try:
            while line := stream.readline(MAX_REQUEST):
                if not line.endswith(b"\n"):
                    break  # too long, or cut off: the start of the next message is unknown
                self._answer(line, controller)
        except OSError as error:
            logging.getLogger("routerd").info("control connection: %s", error)
        finally:
            self._controllers.discard(controller)
            with contextlib.suppress(OSError):
                connection.close()

    def _answer(self, line: bytes, controller: Controller) -> None:
        try:
            message = decode(line)
        except ValueError as error:
            controller.send({"id": None, "error": f"not a message: {error}"})
            return
        number, op = message.get("id"), str(message.get("op"))
        handler = self._operations().get(op)
        answer: Document
        if handler is None:
            answer = {"error": f"unknown operation {op}"}
        else:
            try:
                if op == "subscribe":
                    self._controllers.add(controller)
                answer = {"result": handler(message)}
            except Exception as error:  # whatever the library raises, one bad request must not end the rest
                logging.getLogger("routerd").exception("operation %s failed", op)
                answer = {"error": f"{op}: {str(error) or type(error).__name__}"}
        controller.send({"id": number, **answer})

    def _operations(self) -> dict[str, Callable[[Document], object]]:
        speaker = self._speaker
        return {
            "hello": lambda _: {"version": VERSION, "pid": os.getpid()},
            "subscribe": lambda _: None,
            "observe": lambda _: self._observe(),
            "snapshot": lambda _: speaker.learned.snapshot(complete=self._settled) if speaker else None,
            "states": lambda _: speaker.sessions.states() if speaker else [],
            "speaker": self._set_speaker,
            "apply": self._apply,
            "stop": lambda _: self.stop(),
        }

    def _observe(self) -> Document:
        speaker = self._speaker
        if speaker is None:
            return {"speaker": None, "sessions": {}, "policies": {}, "advertisements": {}}
        tables: dict[str, Mapping[str, object]] = {
            "sessions": speaker.sessions.configured,
            "policies": speaker.learned.policies,
            "advertisements": speaker.engine.advertisements,
        }
        return {
            "speaker": to_document(speaker.engine.speaker),
            **{name: {key: to_document(table[key]) for key in table} for name, table in tables.items()},
        }

    def _set_speaker(self, message: Document) -> None:
        if self._speaker is not None:
            raise RuntimeError("a speaker runs already; to change its settings, start a new process")
        wanted = from_document(message["value"], Speaker)
        _check_listen(wanted.listen, wanted.port)
        self._speaker = BgpSpeaker(wanted, self._changed, stale=self._stale, again=self._again)

    def _apply(self, message: Document) -> Document:
        """Make changes to one table; return the reasons of refused ones by key."""
        speaker = self._speaker
        if speaker is None:
            raise RuntimeError("the process has no speaker yet")
        tables: dict[str, tuple[Callable[[str, Any], None], type[Any]]] = {  # Any: each its own kind
            "policy": (speaker.learned.set_policy, ImportPolicy),
            "session": (speaker.sessions.set, Session),
            "advertisement": (speaker.engine.set_advertisement, Advertisement),
        }
        change, kind = tables[message["table"]]
        refused: Document = {}
        for key, value in message["changes"]:
            try:
                change(key, from_document(value, kind) if value is not None else None)
            except Exception as error:  # the library raises its own kinds; one key must not stop the others
                logging.getLogger("routerd").exception("%s %s failed", message["table"], key)
                refused[key] = f"{message['table']} {key}: {str(error) or type(error).__name__}"
            eventlet.sleep(0)  # sessions must be kept alive between two changes
        return refused


def _check_listen(address: IPAddress | None, port: int) -> None:
    """Raise `OSError` if the port is in use: the library would only log it, in a green thread."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((str(address or "0.0.0.0"), port))  # noqa: S104 - what the file asks for
        except OSError as error:
            where = f"{address or '*'}:{port}"
            raise OSError(error.errno, f"cannot listen on {where}: {error.strerror}") from error


def alone(path: Path) -> int | None:
    """Return a descriptor that locks the socket until this process ends; none when another one serves.

    A cancelled start leaves a process behind that no daemon knows. It would take the socket away from the
    next process and keep its port in use. This function waits for a process that is ending.
    """
    descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + ALONE_DEADLINE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if path.exists() or time.monotonic() > deadline:
                return None
            eventlet.sleep(0.02)
        else:
            return descriptor


class _Log:
    """Replaces `sys.stderr`, to which the hub prints tracebacks, so that the log stays bounded."""

    def write(self, text: str) -> None:
        if line := text.rstrip():
            logging.getLogger("routerd").error("%s", line)

    def flush(self) -> None:
        """Do nothing; the handler flushes."""


def main() -> None:
    """Run the child: parse arguments, set up the log, serve.

    Standard output is a pipe to the daemon. `ready` on it means that the socket is open. Its end without a
    word means that another process serves, or none does.
    """
    parser = argparse.ArgumentParser(prog="routerd-bgp")
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--grace", type=float, default=120.0)
    parser.add_argument("--stale", type=float, default=120.0)
    parser.add_argument("--log-level", default="warning")
    arguments = parser.parse_args()
    handler = RotatingFileHandler(arguments.log, maxBytes=LOG_LIMIT, backupCount=1)
    handler.addFilter(Quiet())
    logging.basicConfig(
        handlers=[handler],
        level=arguments.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    server = Server(arguments.socket, grace=arguments.grace, stale=arguments.stale)
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    if alone(arguments.socket) is None:
        logging.getLogger("routerd").info("another speaker serves at %s", arguments.socket)
        os._exit(0)
    server.listen()
    with contextlib.suppress(OSError):
        os.write(1, b"ready\n")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    sys.stderr = _Log()
    server.run()
    os._exit(0)  # green threads of the library would keep the process alive
