"""How a device comes into being: in the kernel, or as a process of wireguard-go.

The process outlives the daemon. A later daemon knows it again by its link, which carries our
alias and belongs to the network namespace, and by its socket, which need not: several namespaces
may share a directory of sockets, so a socket alone proves nothing. The process ends when its link
is deleted.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Protocol

from routerd.errors import PermanentError, TransientError, UnsupportedError
from routerd.model.names import LinkName
from routerd.model.tunnel import Tunnel
from routerd.spi import Kernel, Link, LinkSpec, PluginContext
from routerd_transport_wireguard.config import WireGuardOptions
from routerd_transport_wireguard.device import DevicePort
from routerd_transport_wireguard.genl import KernelPort
from routerd_transport_wireguard.uapi import UserspacePort

START_DEADLINE = 15.0
_POLL = 0.02


class Backend(Protocol):
    """Makes links of one kind; `port` sets what WireGuard has beyond a link."""

    name: str
    kind: str
    port: DevicePort

    async def create(self, tunnel: Tunnel) -> None:
        """Make the link, ours from its first moment as far as the kernel allows."""
        ...


class KernelBackend:
    """Links of kind `wireguard`."""

    name = "kernel"
    kind = "wireguard"

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


class UserspaceBackend:
    """TUN devices, each with a process of wireguard-go."""

    kind = "tun"

    def __init__(self, kernel: Kernel, options: WireGuardOptions, port: UserspacePort | None = None) -> None:
        self._kernel = kernel
        self._program = options.program
        self.name = Path(options.program).name
        self.port: DevicePort = port or UserspacePort()

    async def create(self, tunnel: Tunnel) -> None:
        """Start the program, wait for its link and its socket, and mark the link as ours."""
        program = shutil.which(self._program)
        if program is None:
            raise UnsupportedError(
                f"wireguard {tunnel.link}: this kernel has no WireGuard, and {self._program} is not "
                "installed; apt-get install wireguard-go"
            )
        try:
            process = await asyncio.create_subprocess_exec(
                program,
                tunnel.link,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                env={"PATH": os.environ.get("PATH", os.defpath), "LOG_LEVEL": "silent"},
            )
        except OSError as error:
            raise PermanentError(f"{program} cannot be started: {error.strerror}") from error
        try:
            async with asyncio.timeout(START_DEADLINE):
                # The program forks: its parent ends once the device and the socket are there.
                _, said = await process.communicate()
                await self._until_up(tunnel.link)
        except TimeoutError as error:
            if process.returncode is None:
                process.kill()
            raise TransientError(f"wireguard {tunnel.link}: {program} did not come up") from error
        if process.returncode:
            last = said.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
            raise TransientError(f"wireguard {tunnel.link}: {program} failed: {last[0]}")
        await self._kernel.set_link(
            tunnel.link, owner=tunnel.owner, mtu=tunnel.mtu, addresses=tunnel.addresses
        )

    async def _until_up(self, link: LinkName) -> None:
        while await self.port.read(link) is None:  # noqa: ASYNC110 - another process; nothing tells us
            await asyncio.sleep(_POLL)


class Backends:
    """Both backends: which makes a new link, and which runs one that is there."""

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
        if await self._context.kernel.supports("wireguard"):
            return self._kernel
        if self._choice == "kernel":
            raise UnsupportedError(
                "this kernel has no WireGuard (module wireguard), and `backend: kernel` is set"
            )
        return self._userspace

    def of(self, link: Link) -> Backend | None:
        """Return the backend that could run a link, by its kind."""
        return next((each for each in (self._kernel, self._userspace) if each.kind == link.kind), None)

    async def ports(self) -> dict[LinkName, DevicePort]:
        """Return the port of each device of ours; other kinds of tunnel have TUN devices too."""
        found: dict[LinkName, DevicePort] = {}
        for link in (await self._context.kernel.links()).values():
            backend = self.of(link)
            if (
                link.owner is not None
                and backend is not None
                and await backend.port.read(link.name) is not None
            ):
                found[link.name] = backend.port
        return found
