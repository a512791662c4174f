"""The daemon's end of the conversation with the relay: find it, start it, ask it."""

from __future__ import annotations

import asyncio
import errno
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import attrs

import routerd_transport_ipip
from routerd.errors import PermanentError, ProviderError, TransientError
from routerd.model.names import LinkName
from routerd.model.tunnel import Tunnel
from routerd.spi import PluginContext
from routerd_transport_ipip.relay import VERSION

DEADLINE = 10.0
_CODE = """import sys
sys.path.insert(0, sys.argv.pop(1))
from routerd_transport_ipip.relay import main
main()
"""


@attrs.define(eq=False)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class RelayLink:
    """Asks the relay of one mode; `on_gone` is called when it goes away by itself."""

    def __init__(self, mode: str, context: PluginContext, on_gone: Callable[[], None]) -> None:
        self._mode = mode
        self._context = context
        self._on_gone = on_gone
        self._path = context.run_dir / f"{mode}.sock"
        self._connection: _Connection | None = None
        self._turn = asyncio.Lock()

    async def tunnels(self) -> dict[LinkName, dict[str, Any]]:
        """Return what the relay runs by device; nothing without a relay."""
        async with self._turn:
            if not await self._find():
                return {}
            listed = cast("list[dict[str, Any]]", await self._ask("list"))
        return {LinkName(each["name"]): each for each in listed}

    async def add(self, tunnel: Tunnel) -> None:
        """Let the relay run a tunnel, in place of one of the same name."""
        async with self._turn:
            if not await self._find():
                await self._start()
            ports = tunnel.encapsulation
            await self._ask(
                "add",
                name=tunnel.link,
                local=str(tunnel.local),
                remote=str(tunnel.remote),
                ttl=tunnel.ttl,
                sport=ports.sport if ports is not None else 0,
                dport=ports.dport if ports is not None else 0,
            )

    async def remove(self, link: LinkName) -> None:
        """Let the relay end a tunnel; one that does not run is a success."""
        async with self._turn:
            if await self._find():
                await self._ask("remove", name=link)

    async def watch(self) -> None:
        """Return when the relay has gone; at once when there is none."""
        while True:
            async with self._turn:
                if not await self._find():
                    return
                # An answer and the end of the stream look alike to a second reader, so it is asked.
                await self._ask("hello")
            await self._context.clock.sleep(1.0)

    def close(self) -> None:
        """Let go of the connection; the relay goes on."""
        self._drop()

    async def _find(self) -> bool:
        if self._connection is not None:
            try:
                await self._ask("hello")
            except ProviderError:
                self._drop()
            else:
                return True
        try:
            async with asyncio.timeout(DEADLINE):
                reader, writer = await asyncio.open_unix_connection(str(self._path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except (OSError, TimeoutError) as error:
            raise TransientError(f"{self._path} cannot be opened: {error}") from error
        self._connection = _Connection(reader, writer)
        hello = cast("dict[str, Any]", await self._ask("hello"))
        if hello.get("version") != VERSION:
            self._drop()
            raise TransientError(f"a relay of another version listens on {self._path}; end its process")
        return True

    async def _ask(self, verb: str, **fields: object) -> object:
        connection = self._connection
        if connection is None:
            raise TransientError(f"the {self._mode} relay is not running")
        try:
            async with asyncio.timeout(DEADLINE):
                connection.writer.write(json.dumps({"do": verb, **fields}).encode() + b"\n")
                await connection.writer.drain()
                line = await connection.reader.readline()
        except (OSError, TimeoutError, asyncio.CancelledError) as error:
            # Whatever was not read yet would be taken for the answer to the next question.
            self._drop()
            if isinstance(error, asyncio.CancelledError):
                raise
            raise TransientError(f"the {self._mode} relay does not answer: {error!r}") from error
        if not line:
            self._drop()
            self._on_gone()
            raise TransientError(f"the {self._mode} relay has gone")
        answer = json.loads(line)
        if "error" in answer:
            raise _translate(str(fields.get("name", self._mode)), answer)
        return answer["result"]

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.writer.close()

    async def _start(self) -> None:
        if self._context.read_only:
            raise TransientError(f"the {self._mode} relay is not running; a dry run does not start it")
        home = str(Path(routerd_transport_ipip.__file__).parents[1])
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-E", "-S", "-c", _CODE, home, self._mode, str(self._path)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            async with asyncio.timeout(DEADLINE):
                said, complaint = await process.communicate()
        except OSError as error:
            raise PermanentError(f"the {self._mode} relay cannot be started: {error.strerror}") from error
        except TimeoutError as error:
            raise TransientError(f"the {self._mode} relay did not come up in {DEADLINE:g} s") from error
        if said != b"ready" or not await self._find():
            words = (said + complaint).decode(errors="replace").strip().splitlines()[-1:]
            raise TransientError(f"the {self._mode} relay does not start: {' '.join(words)}")
        self._context.log.info("relay.started", mode=self._mode, socket=str(self._path))


def _translate(name: str, answer: dict[str, Any]) -> ProviderError:
    text = f"tunnel {name}: {str(answer['error']).lower()}"
    code = answer.get("errno")
    if code == errno.EPERM:
        return PermanentError(f"{text}; routerd needs CAP_NET_ADMIN and CAP_NET_RAW")
    if code == errno.ENOENT:
        return PermanentError(f"{text}: /dev/net/tun; load the module tun")
    if code == errno.EADDRNOTAVAIL:
        return TransientError(f"{text}; the local address is not on this host")
    if code == errno.ENETUNREACH:
        return TransientError(f"{text}; no route leads to the remote address")
    if code == errno.EADDRINUSE:
        return TransientError(f"{text}; another program has the UDP port, `ss -lunp` says which")
    if code == errno.EINVAL:
        return PermanentError(text)
    return TransientError(text)
