"""Listeners of the kernel's foo-over-UDP: ports on which it unwraps what it receives.

A listener belongs to no device, carries no mark and survives every tunnel. So a file in the state
directory marks ours, with the boot and the network namespace in which routerd made it: after a reboot
the port may be foreign. routerd uses a foreign listener and leaves it alone.
"""

import asyncio
import errno
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from socket import AF_INET
from typing import Any, Protocol

from pyroute2.netlink import NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, genlmsg
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic import AsyncGenericNetlinkSocket

from routerd.errors import NotOwnedError, PermanentError, TransientError, UnsupportedError

DEADLINE = 5.0
PROTOCOL_IPIP = 4

_FAMILY = "fou"
_ADD, _DELETE, _GET = 1, 2, 3  # FOU_CMD_*
_DIRECT = 1  # FOU_ENCAP_DIRECT: the UDP packet holds the inner packet, without GUE's header


class FouPort(Protocol):
    """The kernel's listeners, each with the IP protocol that it unwraps."""

    async def listeners(self) -> Mapping[int, int]:
        """Return the protocol by port; `UnsupportedError` when this kernel has no foo-over-UDP."""

    async def add(self, port: int) -> None:
        """Listen for IPv4 on `port`; a present listener is a success."""

    async def remove(self, port: int) -> None:
        """Stop listening on `port`; a port without a listener is a success."""


class FouListeners:
    """The listeners that our tunnels need."""

    def __init__(self, state_dir: Path, port: FouPort) -> None:
        self._directory = state_dir
        self._port = port

    async def supported(self) -> bool:
        """Say whether this kernel has foo-over-UDP and lets us use it; loads the module if it may.

        Every user may read the listeners, but only root of the first user namespace may make one, so a
        container may see the module and not use it. The removal of a missing listener shows which.
        """
        try:
            await self._port.listeners()
            await self._port.remove(0)
        except (UnsupportedError, PermanentError):
            return False
        return True

    async def ports(self) -> frozenset[int]:
        """Return the ports on which the kernel unwraps IPv4, foreign listeners included."""
        try:
            found = await self._port.listeners()
        except UnsupportedError:
            return frozenset()
        return frozenset(port for port, protocol in found.items() if protocol == PROTOCOL_IPIP)

    async def ensure(self, port: int) -> None:
        """Make the listener on `port` unless there is one."""
        present = (await self._port.listeners()).get(port)
        if present == PROTOCOL_IPIP:
            return
        if present is not None:
            raise NotOwnedError(
                f"fou listener on UDP port {port}: it unwraps protocol {present}, not 4, and is not ours;"
                f" remove it with `ip fou del port {port}` or choose another port"
            )
        # The mark comes first: a crash after it leaves a mark without a listener, which does no harm.
        try:
            self._mark(port).write_text(_this_life())
        except OSError as error:
            raise _unmarked(port, error) from error
        await self._port.add(port)

    async def keep_only(self, ports: Iterable[int]) -> None:
        """Remove the listeners of ours on other ports."""
        wanted = set(ports)
        for mark in self._directory.glob("listener-*"):
            port = int(mark.name.removeprefix("listener-"))
            if port in wanted:
                continue
            try:
                if mark.read_text() == _this_life():
                    await self._port.remove(port)
                mark.unlink(missing_ok=True)
            except OSError as error:
                raise _unmarked(port, error) from error

    def _mark(self, port: int) -> Path:
        return self._directory / f"listener-{port}"


class NetlinkFou:
    """Implements `FouPort` by generic netlink, with a socket for each request.

    Loads the kernel's module the first time that it is missing: the kernel loads `ipip` by itself, but
    Debian's `fou` has no alias by which the kernel finds it.
    """

    def __init__(self) -> None:
        self._tried = False

    async def listeners(self) -> Mapping[int, int]:
        """Return the protocol by port."""
        try:
            messages = await self._dump()
        except UnsupportedError:
            if self._tried:
                raise
            self._tried = True
            await _load_module()
            messages = await self._dump()
        return {
            message.get_attr("FOU_ATTR_PORT"): message.get_attr("FOU_ATTR_IPPROTO") or 0
            for message in messages
            if message.get_attr("FOU_ATTR_AF") == AF_INET
        }

    async def _dump(self) -> list[Any]:  # Any: pyroute2 is untyped
        return await _ask("read the fou listeners", _GET, NLM_F_REQUEST | NLM_F_DUMP)

    async def add(self, port: int) -> None:
        """Listen for IPv4 on `port`."""
        try:
            await _ask(
                f"add fou listener on UDP port {port}",
                _ADD,
                NLM_F_REQUEST | NLM_F_ACK,
                FOU_ATTR_PORT=port,
                FOU_ATTR_AF=AF_INET,
                FOU_ATTR_IPPROTO=PROTOCOL_IPIP,
                FOU_ATTR_TYPE=_DIRECT,
            )
        except TransientError as error:
            if _errno_of(error) != errno.EALREADY:
                raise

    async def remove(self, port: int) -> None:
        """Stop listening on `port`."""
        try:
            await _ask(
                f"remove fou listener on UDP port {port}",
                _DELETE,
                NLM_F_REQUEST | NLM_F_ACK,
                FOU_ATTR_PORT=port,
                FOU_ATTR_AF=AF_INET,
            )
        except TransientError as error:
            if _errno_of(error) not in {errno.EINVAL, errno.ENOENT}:
                raise


class fou_message(genlmsg):  # type: ignore[misc]  # noqa: N801 - pyroute2 is untyped; its style of names
    """A message of linux/fou.h."""

    prefix = "FOU_ATTR_"
    nla_map = (
        ("FOU_ATTR_UNSPEC", "none"),
        ("FOU_ATTR_PORT", "be16"),
        ("FOU_ATTR_AF", "uint8"),
        ("FOU_ATTR_IPPROTO", "uint8"),
        ("FOU_ATTR_TYPE", "uint8"),
    )


class _FouSocket(AsyncGenericNetlinkSocket):  # type: ignore[misc]  # pyroute2 is untyped
    module_err_level = "debug"  # a missing module is an answer, not an error


async def _ask(what: str, command: int, flags: int, **values: int) -> list[Any]:  # Any: pyroute2 is untyped
    message = fou_message()
    message["cmd"] = command
    message["version"] = 1
    message["attrs"] = list(values.items())
    bound = False
    try:
        async with asyncio.timeout(DEADLINE), _FouSocket() as socket:
            await socket.bind(_FAMILY, fou_message)
            bound = True
            answer = await socket.nlm_request(message, msg_type=socket.prid, msg_flags=flags)
            return [each async for each in answer]
    except NetlinkError as error:
        if not bound and error.code in {errno.ENOENT, errno.EOPNOTSUPP}:
            raise UnsupportedError(
                f"{what}: this kernel has no foo-over-UDP; load the module fou or use `backend: userspace`"
            ) from error
        text = f"{what}: {os.strerror(error.code).lower()}"
        if error.code == errno.EPERM:
            raise PermanentError(f"{text}; give routerd CAP_NET_ADMIN") from error
        if error.code == errno.EADDRINUSE:
            text += "; another program has the UDP port; find it with `ss -lunp`"
        raise TransientError(text) from error
    except (OSError, TimeoutError) as error:
        raise TransientError(f"{what}: the kernel does not answer: {error}") from error


async def _load_module() -> None:
    """Load the module with modprobe(8); the next answer of the kernel shows the result."""
    try:
        async with asyncio.timeout(DEADLINE):
            process = await asyncio.create_subprocess_exec(
                *("modprobe", "-q", _FAMILY),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            )
            try:
                await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
    except (OSError, TimeoutError):
        return


def _unmarked(port: int, error: OSError) -> TransientError:
    return TransientError(
        f"fou listener on UDP port {port}: its mark in the state directory is not readable or writable: "
        f"{error.strerror}; check that directory and its disk"
    )


def _errno_of(error: Exception) -> int:
    cause = error.__cause__
    return int(cause.code) if isinstance(cause, NetlinkError) else 0


def _this_life() -> str:
    """Return the identity of this boot and this network namespace."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    namespace = Path("/proc/self/ns/net").stat().st_ino
    return f"{boot} {namespace}\n"
