"""Listeners of the kernel's foo-over-UDP: ports on which it unwraps what it receives.

A listener belongs to no device, carries no mark and survives every tunnel, so a file in the state
directory says that it is ours; one that others made is used and left alone.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable
from pathlib import Path

from routerd.errors import PermanentError, TransientError, UnsupportedError

DEADLINE = 5.0


class FouListeners:
    """Makes and removes listeners with ip-fou(8)."""

    def __init__(self, state_dir: Path) -> None:
        self._directory = state_dir

    async def supported(self) -> bool:
        """Say whether this kernel has foo-over-UDP (asking loads the module if it may)."""
        code, _ = await _ip("fou", "show")
        return code == 0

    async def ensure(self, port: int) -> None:
        """Make a listener for IPv4 in UDP on `port`; one that is there is a success."""
        mark = self._mark(port)
        existed = mark.exists()
        mark.touch(mode=0o600)
        code, said = await _ip("fou", "add", "port", str(port), "ipproto", "4")
        if code == 0:
            return
        if not existed:
            mark.unlink(missing_ok=True)
        if "in use" in said or "exists" in said:
            return
        raise TransientError(f"fou listener on UDP port {port}: {said or 'ip fou failed'}")

    async def keep_only(self, ports: Iterable[int]) -> None:
        """Remove the listeners of ours on other ports."""
        wanted = set(ports)
        for mark in self._directory.glob("fou-*"):
            port = int(mark.name.removeprefix("fou-"))
            if port not in wanted:
                await _ip("fou", "del", "port", str(port))
                mark.unlink(missing_ok=True)

    def _mark(self, port: int) -> Path:
        return self._directory / f"fou-{port}"


async def _ip(*words: str) -> tuple[int, str]:
    program = shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        raise UnsupportedError("the program ip is not installed; apt-get install iproute2")
    try:
        process = await asyncio.create_subprocess_exec(
            program, *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
    except OSError as error:
        raise PermanentError(f"{program} cannot be started: {error.strerror}") from error
    async with asyncio.timeout(DEADLINE):
        _, said = await process.communicate()
    return process.returncode or 0, said.decode(errors="replace").strip()
