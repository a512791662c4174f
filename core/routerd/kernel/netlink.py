"""Requests to rtnetlink: with a deadline, a retry of interrupted dumps, and translated errors."""

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Interface
from socket import AF_INET
from typing import Any, TypeVar

from routerd.errors import PermanentError, ProviderError, TransientError, UnsupportedError
from routerd.kernel.pyroute2_parts import AsyncIPRoute, NetlinkDumpInterrupted, NetlinkError
from routerd.model.addresses import IPInterface, ipv4

DEADLINE = 5.0
"""Seconds for one exchange; the kernel answers in microseconds unless the RTNL lock is stuck."""

_DUMP_ATTEMPTS = 5
_PERMANENT = frozenset({errno.EPERM, errno.EACCES, errno.EINVAL, errno.ERANGE, errno.EADDRINUSE})

T = TypeVar("T")
Request = Callable[[AsyncIPRoute], Awaitable[T]]


async def ask(what: str, request: Request[T]) -> T:
    """Run `request` on a socket of its own and return its result.

    `what` begins the error text. Raises `TransientError`, `PermanentError`, `UnsupportedError`; its
    `__cause__` is the `NetlinkError`, for callers that know its errno.
    """
    for attempt in range(_DUMP_ATTEMPTS):
        try:
            async with asyncio.timeout(DEADLINE):
                async with AsyncIPRoute() as socket:
                    return await request(socket)
        except NetlinkDumpInterrupted:
            # NLM_F_DUMP_INTR: the table changed during the dump, so the answer may be torn.
            if attempt == _DUMP_ATTEMPTS - 1:
                break
        except TimeoutError as exc:
            raise TransientError(f"{what}: the kernel did not answer within {DEADLINE:g} s") from exc
        except NetlinkError as exc:
            raise translate(what, exc.code) from exc
        except OSError as exc:
            raise translate(what, exc.errno or 0) from exc
    raise TransientError(f"{what}: the dump was interrupted {_DUMP_ATTEMPTS} times in a row")


async def collect(answer: Any) -> list[Any]:  # noqa: ANN401 - pyroute2 messages are untyped
    """Return all messages of a dump."""
    return [message async for message in answer]


async def read_links() -> tuple[list[Any], list[tuple[Any, IPv4Interface]]]:
    """Return the messages of all links and of all IPv4 addresses, each address also as a value."""

    async def read(socket: AsyncIPRoute) -> tuple[list[Any], list[Any]]:
        links = await collect(await socket.link("dump"))
        return links, await collect(await socket.addr("dump", family=AF_INET))

    links, addresses = await ask("read links and addresses", read)
    found: list[tuple[Any, IPv4Interface]] = []
    for message in addresses:
        # On a point-to-point address IFA_ADDRESS is the peer and IFA_LOCAL ours.
        text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        if text:
            found.append((message, IPv4Interface(f"{text}/{message['prefixlen']}")))
    return links, found


_GONE = {"add": errno.EEXIST, "del": errno.EADDRNOTAVAIL}
"""The answers that say that an address is there, or gone, already."""


async def change_address(verb: str, what: str, index: int, address: IPInterface, **fields: int) -> None:
    """Add or delete an address of the link `index`; it is a success if that has happened already."""
    address = ipv4(address, f"link {what}")
    try:
        await ask(
            f"{verb} address {address} on {what}",
            lambda socket: socket.addr(
                verb, index=index, address=str(address.ip), prefixlen=address.network.prefixlen, **fields
            ),
        )
    except ProviderError as exc:
        if errno_of(exc) != _GONE[verb]:
            raise


def errno_of(error: ProviderError) -> int:
    """Return the errno behind `error`, 0 for none."""
    cause = error.__cause__
    if isinstance(cause, NetlinkError):
        return int(cause.code)
    return (cause.errno or 0) if isinstance(cause, OSError) else 0


def translate(what: str, code: int) -> ProviderError:
    """Return our error for an errno of netlink."""
    text = f"{what}: {os.strerror(code).lower()} ({errno.errorcode.get(code, code)})"
    if code == errno.EOPNOTSUPP:
        return UnsupportedError(f"{text}; this kernel lacks the module; install or load it")
    if code == errno.EPERM:
        return PermanentError(f"{text}; give routerd CAP_NET_ADMIN")
    if code in _PERMANENT:
        return PermanentError(text)
    return TransientError(text)
