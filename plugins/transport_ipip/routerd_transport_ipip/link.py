"""The daemon's end of the conversation with the relay: finds it, starts it, asks it."""

import asyncio
import errno
import json
import os
import sys
from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, cast

import attrs

import routerd_transport_ipip
from routerd.errors import PermanentError, ProviderError, TransientError
from routerd.model.names import LinkName
from routerd.model.tunnel import Tunnel, UdpEncapsulation
from routerd.spi import Helper, PluginContext
from routerd_transport_ipip.relay import VERSION

DEADLINE = 10.0
MAX_SOCKET_PATH = 107
"""Maximum bytes of a Unix socket's path: sizeof(sun_path) less its end, unix(7)."""

_CODE = """import sys
sys.path.append(sys.argv.pop(1))
from routerd_transport_ipip.relay import main
main()
"""


@attrs.frozen(kw_only=True)
class Relayed:
    """A tunnel of the relay, as it reports it."""

    local: IPv4Address
    remote: IPv4Address
    ttl: int
    encapsulation: UdpEncapsulation | None
    key: int | None


class _NotRunning(TransientError):
    """No relay answers."""


@attrs.define(eq=False)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    version: int = 0


class RelayLink:
    """Asks the relay of one mode, one question at a time."""

    def __init__(self, mode: str, context: PluginContext) -> None:
        self._mode = mode
        self._context = context
        self._path = (context.run_dir / f"{mode}.sock").absolute()
        self._connection: _Connection | None = None
        self._turn = asyncio.Lock()

    async def tunnels(self) -> Mapping[LinkName, Relayed | None]:
        """Return the tunnels of the relay by device; none without a relay.

        A relay of another version only gives their names.
        """
        async with self._turn:
            if not await self._find():
                return {}
            try:
                listed = cast("list[dict[str, Any]]", await self._ask("list"))
            except _NotRunning:
                return {}
            current = self._connection is not None and self._connection.version == VERSION
        return {LinkName(each["name"]): self._relayed(each) if current else None for each in listed}

    async def add(self, tunnel: Tunnel) -> None:
        """Add a tunnel to the relay; one with the same name keeps its device and gets the new ends."""
        async with self._turn:
            if not await self._find_current():
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
                key=tunnel.key,
            )

    async def remove(self, link: LinkName) -> None:
        """Remove a tunnel from the relay; a missing one is a success."""
        async with self._turn:
            if not await self._find_current():
                return
            if await self._ask("remove", name=link) == 0:
                # The relay ends with its last tunnel.
                self._drop()

    def is_lost(self) -> bool:
        """Say whether the relay has ended or hung up since its last answer."""
        if self._connection is None or not self._connection.reader.at_eof():
            return False
        self._drop()
        return True

    def close(self) -> None:
        """Close the connection; the relay goes on."""
        self._drop()

    async def _find(self) -> bool:
        """Connect to a running relay; say whether there is one."""
        if self._connection is not None:
            if not self._connection.reader.at_eof():
                return True
            self._drop()
        if self._is_too_long():
            return False
        try:
            async with asyncio.timeout(DEADLINE):
                reader, writer = await asyncio.open_unix_connection(str(self._path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except (OSError, TimeoutError) as error:
            raise TransientError(
                f"the {self._mode} relay: its socket {self._path} cannot be opened: {error!r}; check it"
            ) from error
        helper = Helper.behind(writer.get_extra_info("socket"))
        if helper is not None:
            try:
                if not helper.is_in_our_network():
                    self._end_elsewhere(helper, writer)
                    return False
            finally:
                helper.close()
        self._connection = _Connection(reader, writer)
        try:
            hello = cast("dict[str, Any]", await self._ask("hello"))
        except _NotRunning:
            # The relay has just ended with its last tunnel.
            return False
        self._connection.version = int(hello.get("version", 0))
        return True

    def _end_elsewhere(self, helper: Helper, writer: asyncio.StreamWriter) -> None:
        """End a relay of another network namespace: its tunnels are not those of this host."""
        writer.close()
        if self._context.read_only:
            return
        self._context.log.warning("relay.elsewhere", mode=self._mode, process=helper.process)
        helper.kill()
        self._path.unlink(missing_ok=True)

    async def _find_current(self) -> bool:
        """Say whether a relay of our version runs; end one of another version first."""
        if not await self._find():
            return False
        connection = self._connection
        if connection is None or connection.version == VERSION:
            return connection is not None
        self._context.log.info("relay.outdated", mode=self._mode, version=connection.version)
        try:
            await self._ask("stop")
            async with asyncio.timeout(DEADLINE):
                while await connection.reader.read(4096):
                    pass
        except (_NotRunning, ConnectionError):
            pass
        except TimeoutError as error:
            raise TransientError(
                f"the {self._mode} relay of version {connection.version} does not end; kill the process that"
                f" listens on {self._path}"
            ) from error
        finally:
            self._drop()
        return False

    async def _ask(self, verb: str, **fields: object) -> object:
        connection = self._connection
        if connection is None:
            raise _NotRunning(f"the {self._mode} relay is not running")
        try:
            async with asyncio.timeout(DEADLINE):
                connection.writer.write(json.dumps({"do": verb, **fields}).encode() + b"\n")
                await connection.writer.drain()
                line = await connection.reader.readline()
        except (ConnectionError, ValueError):
            line = b""
        except TimeoutError as error:
            self._drop()
            raise TransientError(
                f"the {self._mode} relay did not answer {verb} in {DEADLINE:g} s; restart its process"
            ) from error
        except asyncio.CancelledError:
            # The unread answer would count as the answer to the next question.
            self._drop()
            raise
        if not line.endswith(b"\n"):
            self._drop()
            raise _NotRunning(f"the {self._mode} relay has ended; routerd restarts it with a tunnel")
        answer = json.loads(line)
        if "error" in answer:
            raise _translate(str(fields.get("name", self._mode)), answer)
        return answer["result"]

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.writer.close()

    async def _start(self) -> None:
        """Start a relay; wait for its start even on a cancellation, so that none starts behind us."""
        if self._context.read_only:
            raise TransientError(f"the {self._mode} relay is not running; a dry run does not start it")
        if self._is_too_long():
            raise PermanentError(f"{self._path}: too long for a socket; choose a shorter run directory")
        task = asyncio.ensure_future(self._run())
        try:
            said = await asyncio.shield(task)
        finally:
            if not task.done():
                await asyncio.wait([task])
        if said != "ready" or not await self._find():
            raise TransientError(f"the {self._mode} relay does not start: {said}; read {self._log_path}")
        self._context.log.info("relay.started", mode=self._mode, socket=str(self._path))

    def _is_too_long(self) -> bool:
        return len(os.fsencode(self._path)) > MAX_SOCKET_PATH

    @property
    def _log_path(self) -> Path:
        return self._context.state_dir / f"relay-{self._mode}.log"

    async def _run(self) -> str:
        home = str(Path(routerd_transport_ipip.__file__).absolute().parents[1])
        try:
            errors = os.open(self._log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-I", "-S", "-c", _CODE, home, self._mode, str(self._path)),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=errors,
                    start_new_session=True,
                )
            finally:
                os.close(errors)
        except OSError as error:
            raise PermanentError(
                f"the {self._mode} relay cannot be started: {error.filename}: {error.strerror}"
            ) from error
        try:
            async with asyncio.timeout(DEADLINE):
                said, _ = await process.communicate()
        except TimeoutError as error:
            process.kill()
            await process.wait()
            raise TransientError(f"the {self._mode} relay did not come up in {DEADLINE:g} s") from error
        finally:
            # A cancelled wait would leave the pipe open; asyncio has no public way to close it.
            process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001
        return said.decode(errors="replace") or "it ended at once"

    def _relayed(self, each: Mapping[str, Any]) -> Relayed:
        ports = UdpEncapsulation(sport=int(each["sport"]), dport=int(each["dport"]))
        return Relayed(
            local=IPv4Address(each["local"]),
            remote=IPv4Address(each["remote"]),
            ttl=int(each["ttl"]),
            encapsulation=ports if self._mode == "fou" else None,
            # A relay of an earlier routerd reports no keys and has none.
            key=each.get("key"),
        )


_HINTS = {
    errno.EADDRNOTAVAIL: "the local address is not on this host; add it to the underlay",
    errno.ENETUNREACH: "no route leads to the remote address; check the underlay",
    errno.EHOSTUNREACH: "no route leads to the remote address; check the underlay",
    errno.EADDRINUSE: "another program has the UDP port; find it with `ss -lunp`",
    errno.EBUSY: "a device of that name exists; rename or delete it, `ip -d link` shows its kind",
}
_PERMANENT = {
    errno.EPERM: "give routerd CAP_NET_ADMIN and CAP_NET_RAW",
    errno.EACCES: "routerd may not send to that address, perhaps a broadcast address; correct it",
    errno.ENOENT: "/dev/net/tun is missing; load the module tun",
    errno.ENODEV: "/dev/net/tun does not work; load the module tun",
    errno.EEXIST: "give each tunnel its own pair of ends, or with gre its own key",
    errno.EINVAL: "",
}


def _translate(name: str, answer: Mapping[str, Any]) -> ProviderError:
    code = int(answer.get("errno") or 0)
    hint = _PERMANENT.get(code) or _HINTS.get(code, "")
    text = f"tunnel {name}: {str(answer['error']).lower()}" + (f"; {hint}" if hint else "")
    return PermanentError(text) if code in _PERMANENT else TransientError(text)
