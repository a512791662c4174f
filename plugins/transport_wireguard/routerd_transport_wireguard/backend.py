"""The backends of a device: the kernel, or a process of wireguard-go.

What complicates this:

* The process outlives the daemon. A later daemon recognises it by its link, which carries our alias and
  belongs to the network namespace, and by its socket. Several namespaces may share a directory of
  sockets, so the socket does not suffice.
* The process ends when its link is deleted, but not at once, and until then the name is in use.
* A cancelled start must run to its end; otherwise it would leave a link without our alias.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

import attrs

from routerd.errors import PermanentError, TransientError, UnsupportedError
from routerd.model.names import MAX_LINK_NAME, LinkName
from routerd.model.tunnel import Tunnel
from routerd.spi import Kernel, Link, LinkSpec, PluginContext
from routerd_transport_wireguard.config import WireGuardOptions
from routerd_transport_wireguard.device import DeviceDump, DevicePort
from routerd_transport_wireguard.genl import KernelPort
from routerd_transport_wireguard.program import Program
from routerd_transport_wireguard.uapi import UserspacePort

START_DEADLINE = 15.0
END_DEADLINE = 5.0
_POLL = 0.02

T = TypeVar("T")


class Backend(Protocol):
    """Makes links of one kind; `port` sets the WireGuard part of a link, `note` warns the operator."""

    name: str
    kind: str
    note: str
    port: DevicePort

    async def create(self, tunnel: Tunnel) -> None:
        """Make the link, with our alias as early as the kernel allows."""

    async def clear(self, link: LinkName, *, deleted: bool) -> None:
        """Remove the remainders of a vanished device; `deleted` says that we have just deleted it."""


class KernelBackend:
    """Links of kind `wireguard`."""

    name = "kernel"
    kind = "wireguard"
    note = ""

    def __init__(self, kernel: Kernel, port: DevicePort | None = None) -> None:
        self._kernel = kernel
        self.port: DevicePort = port or KernelPort()

    async def create(self, tunnel: Tunnel) -> None:
        """Make the link; the kernel's own module does the rest."""
        await self._kernel.add_link(
            LinkSpec(
                name=tunnel.link,
                kind=self.kind,
                owner=tunnel.owner,
                mtu=tunnel.mtu,
                addresses=tunnel.addresses,
            )
        )

    async def clear(self, link: LinkName, *, deleted: bool) -> None:
        """Do nothing: the kernel leaves nothing behind."""


class UserspaceBackend:
    """TUN devices, each with a process of wireguard-go."""

    kind = "tun"
    note = "warning: userspace, slower than the kernel's own WireGuard"

    def __init__(self, kernel: Kernel, options: WireGuardOptions, port: UserspacePort | None = None) -> None:
        self._kernel = kernel
        self._program = Program(options.program)
        self._sockets = port or UserspacePort()
        self.name = self._program.name
        self.port: DevicePort = self._sockets

    async def create(self, tunnel: Tunnel) -> None:
        """Start the program, wait for its link and its socket, and mark the link as ours."""
        if len(tunnel.link.encode()) > MAX_LINK_NAME:
            raise PermanentError(f"link {tunnel.link}: the name is longer than {MAX_LINK_NAME} bytes")
        # A start that a cancellation cuts short would leave the link without our alias.
        await _to_the_end(self._create(tunnel))

    async def _create(self, tunnel: Tunnel) -> None:
        try:
            async with asyncio.timeout(START_DEADLINE):
                await self._program.start(tunnel.link)
                while await self.port.read(tunnel.link) is None:  # noqa: ASYNC110 - nothing tells us
                    await asyncio.sleep(_POLL)
        except TimeoutError as error:
            raise TransientError(
                f"wireguard {tunnel.link}: {self.name} did not come up in {START_DEADLINE:g} s"
            ) from error
        link = (await self._kernel.links()).get(tunnel.link)
        if link is not None and link.owner is None:
            await self._kernel.mark_link(tunnel.link, index=link.index, owner=tunnel.owner)
        await self._kernel.set_link(
            tunnel.link, owner=tunnel.owner, mtu=tunnel.mtu, addresses=tunnel.addresses
        )

    async def clear(self, link: LinkName, *, deleted: bool) -> None:
        """Wait for the program's end, and remove the socket of a killed program.

        Until then no new device can have the name.
        """
        try:
            async with asyncio.timeout(END_DEADLINE):
                while await self._sockets.answers(link) and deleted:  # noqa: ASYNC110 - nothing tells us
                    await asyncio.sleep(_POLL)
        except TimeoutError as error:
            raise TransientError(
                f"wireguard {link}: the device is deleted, but its {self.name} still runs; kill it"
            ) from error


@attrs.frozen(kw_only=True)
class Device:
    """A device of ours, and its backend."""

    link: Link
    backend: Backend
    dump: DeviceDump


class Backends:
    """Both backends, and the choice between them."""

    def __init__(
        self, context: PluginContext, options: WireGuardOptions, *, kernel: Backend, userspace: Backend
    ) -> None:
        self._context = context
        self._choice = options.backend
        self._kernel = kernel
        self._userspace = userspace

    async def for_new(self) -> Backend:
        """Return the backend that makes links."""
        if self._choice == "userspace":
            return self._userspace
        if await self._context.kernel.supports(self._kernel.kind):
            return self._kernel
        if self._choice == "kernel":
            raise UnsupportedError(
                "this kernel has no WireGuard, and `backend: kernel` is set; run `modprobe wireguard`, "
                "or set `backend: auto`"
            )
        return self._userspace

    def of(self, link: Link) -> Backend | None:
        """Return the backend for the kind of a link."""
        return next((each for each in (self._kernel, self._userspace) if each.kind == link.kind), None)

    async def look(self, link: Link) -> Device | None:
        """Return the WireGuard device of a link, or none for every other link."""
        backend = self.of(link)
        dump = await backend.port.read(link.name) if backend is not None else None
        if backend is None or dump is None:
            return None
        return Device(link=link, backend=backend, dump=dump)

    async def devices(self) -> dict[LinkName, Device]:
        """Return every device of ours."""
        links = (await self._context.kernel.links()).values()
        found = [await self.look(link) for link in links if link.owner is not None]
        return {each.link.name: each for each in found if each is not None}

    async def clear(self, link: LinkName) -> None:
        """Remove the remainders of a device that vanished by itself."""
        for backend in (self._kernel, self._userspace):
            await backend.clear(link, deleted=False)


async def _to_the_end(work: Coroutine[Any, Any, T]) -> T:  # Any: send type unused
    """Await `work`; wait for its end even on a cancellation."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # seen: the caller is gone, and the next pass finds the same
        raise
