"""The daemon's end of the connection to the speaker's process: finds it, starts it, asks it."""

import asyncio
import contextlib
import itertools
import os
import sys
from collections.abc import Callable

import attrs

from routerd.errors import PermanentError, TransientError
from routerd.spi import Helper, PluginContext
from routerd_bgp_ryu.config import BgpOptions
from routerd_bgp_ryu.wire import MAX_LINE, VERSION, decode, encode

ASK_DEADLINE = 15.0
START_DEADLINE = 30.0
STOP_DEADLINE = 12.0
"""Seconds after which a process that does not end is killed."""
HANG_SECONDS = 30.0
"""Seconds without any answer after which a process is killed: below the hold time of its neighbours."""
KILL_DEADLINE = 5.0
"""Seconds that the kernel may take to end a killed process."""
MAX_SOCKET_PATH = 107
"""Bytes of a Unix socket's path: sizeof(sun_path) less its end, unix(7)."""


class _Gone(ConnectionError):
    """The process at the other end has gone, or this end closed the connection."""


@attrs.define(eq=False)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    helper: Helper | None = None
    """The process at the other end; none when that has gone."""
    task: asyncio.Task[None] | None = None
    waiting: dict[int, asyncio.Future[object]] = attrs.field(factory=dict)

    def ended(self) -> bool:
        return self.task is None or self.task.done()

    def close(self) -> None:
        if self.task is not None:
            self.task.cancel()
        if self.helper is not None:
            self.helper.close()
            self.helper = None
        self.writer.close()
        for future in self.waiting.values():
            if not future.done():
                future.set_exception(_Gone())


class SpeakerLink:
    """Asks the speaker's process, and finds or starts it first.

    It calls `on_change` when routes or sessions have changed, and when the process has gone.

    What complicates this:

    - The process outlives the daemon. A new daemon must find it, and a process of another version must end
      before a new one can have its port.
    - The process forks away from us, so that nothing reaps it. Only the end of the connection shows that it
      died.
    - Many tasks ask at once. One lock covers connecting, starting and greeting; the answers come by number.
    - The greeting itself asks, on a connection that other tasks must not see yet (`on`).
    - The process may go while a request is still being sent, and its answer may come before the send is over.
    - A dry run must neither start nor stop a process, nor become the daemon in charge.
    """

    def __init__(self, context: PluginContext, options: BgpOptions, on_change: Callable[[], None]) -> None:
        self._context = context
        self._options = options
        self._on_change = on_change
        self._path = context.run_dir / "speaker.sock"
        self._connection: _Connection | None = None
        self._numbers = itertools.count(1)
        self._lock = asyncio.Lock()
        self._silent_since: float | None = None
        """The monotonic time since which questions have had no answer."""

    async def ask(self, op: str, *, on: _Connection | None = None, **fields: object) -> object:
        """Return the child's answer; `TransientError` when there is no child or it does not answer.

        `on` is a connection that is not greeted yet.
        """
        if on is None:
            async with self._lock:
                on = await self._connect()
        if on is None:
            raise TransientError("the BGP speaker's process is not running")
        number = next(self._numbers)
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        on.waiting[number] = future
        try:
            on.writer.write(encode({"id": number, "op": op, **fields}))
            async with asyncio.timeout(ASK_DEADLINE):
                await on.writer.drain()
                return await future
        except TimeoutError as error:
            now = self._context.clock.monotonic()
            self._silent_since = self._silent_since or now - ASK_DEADLINE
            if now - self._silent_since >= HANG_SECONDS:
                await self._replace(on, f"has not answered anything for {HANG_SECONDS:g} s")
            raise TransientError(f"the BGP speaker did not answer {op} within {ASK_DEADLINE:g} s") from error
        except (OSError, _Gone) as error:
            raise TransientError("the BGP speaker's process has ended; the loop starts it again") from error
        finally:
            on.waiting.pop(number, None)
            if not future.cancel() and not future.cancelled():
                # A process that goes while the request is still being sent sets an exception. Fetch it, or
                # asyncio complains about it much later.
                future.exception()

    async def find(self) -> bool:
        """Connect to a process that runs; say whether one does."""
        async with self._lock:
            return await self._connect() is not None

    async def start(self) -> None:
        """Start a process unless one runs."""
        async with self._lock:
            if await self._connect() is None:
                await self._spawn()

    async def stop(self) -> None:
        """Make the process close its sessions and end; kill it when it has not ended in time.

        The kernel then closes the sessions. `TransientError` when not even that ends the process.
        """
        async with self._lock:
            connection = await self._connect()
        if connection is None:
            return
        try:
            async with asyncio.timeout(STOP_DEADLINE):
                with contextlib.suppress(TransientError):
                    await self.ask("stop", on=connection)
                while self._path.exists() and not connection.ended():  # noqa: ASYNC110 - only the file tells
                    await asyncio.sleep(0.05)
        except TimeoutError:
            await self._kill(connection, f"has not ended within {STOP_DEADLINE:g} s")
        self.close()

    async def _kill(self, connection: _Connection, reason: str) -> None:
        self._context.log.warning("speaker.killed", socket=str(self._path), reason=reason)
        if connection.helper is not None:
            connection.helper.kill()
        try:
            async with asyncio.timeout(KILL_DEADLINE):
                while not connection.ended():  # noqa: ASYNC110 - the reading task is shared; nothing waits for it
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            raise TransientError(f"the BGP speaker's process {reason} and is being killed") from error
        self._path.unlink(missing_ok=True)

    async def _replace(self, connection: _Connection, reason: str) -> None:
        """Kill a process that is of no use, so that the loop starts another; raises `TransientError`."""
        if self._context.read_only:
            raise TransientError(f"the BGP speaker's process {reason}; a dry run does not replace it")
        self._silent_since = None
        try:
            await self._kill(connection, reason)
        finally:
            connection.close()
            if self._connection is connection:
                self.close()
        self._on_change()
        raise TransientError(f"the BGP speaker's process {reason} and was killed; the loop starts another")

    async def _connect(self) -> _Connection | None:
        if self._connection is not None:
            return self._connection
        try:
            reader, writer = await asyncio.open_unix_connection(str(self._path), limit=MAX_LINE)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except OSError as error:
            raise TransientError(
                f"the BGP speaker's socket {self._path}: cannot be opened: {error.strerror}"
            ) from error
        connection = _Connection(reader, writer, helper=Helper.behind(writer.get_extra_info("socket")))
        connection.task = asyncio.create_task(self._read(connection), name="bgp_ryu speaker link")
        if connection.helper is not None and not connection.helper.is_in_our_network():
            await self._replace(connection, "is in another network namespace")
        try:
            await self._greet(connection)
        except BaseException:  # cancellation too: a connection that is not subscribed must not stay
            connection.close()
            raise
        if connection.ended():
            return None
        self._connection = connection
        return connection

    async def _greet(self, connection: _Connection) -> None:
        hello = await self.ask("hello", on=connection)
        if not isinstance(hello, dict) or hello.get("version") != VERSION:
            if self._context.read_only:
                raise TransientError("a speaker of another version runs; a dry run does not stop it")
            # A child of another routerd: its sessions must end before ours can begin.
            await self.ask("stop", on=connection)
            raise TransientError("a speaker of another version is being stopped")
        if not self._context.read_only:
            await self.ask("subscribe", on=connection)

    async def _read(self, connection: _Connection) -> None:
        try:
            while line := await connection.reader.readline():
                self._silent_since = None
                message = decode(line)
                if message.get("event") == "changed":
                    self._on_change()
                    continue
                future = connection.waiting.get(message.get("id") or 0)
                if future is None or future.done():
                    continue
                if "error" in message:
                    future.set_exception(TransientError(str(message["error"])))
                else:
                    future.set_result(message.get("result"))
        except (OSError, ValueError) as error:
            self._context.log.warning("speaker.link.broken", error=str(error))
        connection.task = None
        if self._connection is connection:
            self._context.log.warning("speaker.gone", socket=str(self._path))
            self.close()
            self._on_change()
        else:
            connection.close()

    def close(self) -> None:
        """Close the connection; the process goes on."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    async def _spawn(self) -> None:
        if self._context.read_only:
            raise TransientError("the BGP speaker's process is not running")
        if len(os.fsencode(self._path)) > MAX_SOCKET_PATH:
            raise PermanentError(
                f"the BGP speaker's socket {self._path}: the path is too long; choose a shorter run directory"
            )
        log_path = self._context.state_dir / "speaker.log"
        try:
            with os.fdopen(os.open(log_path, _APPEND, 0o600), "ab") as errors:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-m", "routerd_bgp_ryu.child"),
                    *("--socket", str(self._path)),
                    *("--log", str(log_path)),
                    *("--grace", str(self._options.child_grace.total_seconds())),
                    *("--stale", str(self._options.stale_time.total_seconds())),
                    *("--log-level", self._options.log_level),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=errors,
                )
        except OSError as error:
            raise PermanentError(f"the BGP speaker's process cannot be started: {error.strerror}") from error
        try:
            async with asyncio.timeout(START_DEADLINE):
                # The process forks at once and its parent ends. The child holds the pipe until it is ready.
                await process.communicate()
        except TimeoutError as error:
            raise TransientError(
                f"the BGP speaker's process did not come up within {START_DEADLINE:g} s; see {log_path}"
            ) from error
        finally:
            # A cancelled wait would leave the pipe open; asyncio has no public way to close it.
            process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001
        # The child ends at once when another process serves the socket; that one is ours then.
        if await self._connect() is None:
            raise TransientError(f"the BGP speaker's process ended at once; see {log_path}")
        self._context.log.info("speaker.started", socket=str(self._path))


_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
