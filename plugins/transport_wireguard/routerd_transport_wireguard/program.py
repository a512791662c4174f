"""The start of wireguard-go. `uapi.py` speaks with the running program."""

import asyncio
import contextlib
import os
import re
import shutil
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

from routerd.errors import PermanentError, ProviderError, TransientError, UnsupportedError
from routerd.model.names import LinkName

_REASON_SECONDS = 2.0
_STAMP = re.compile(r"^ERROR: \(\S+\) \S+ \S+ ")


class Program:
    """wireguard-go, or another program with its command line."""

    def __init__(self, program: str) -> None:
        self._program = program
        self.name = Path(program).name

    async def start(self, link: LinkName) -> None:
        """Start it for a device; return once device and socket exist.

        The program forks. The process that we start ends by itself; the remaining one is not our child,
        holds none of our files, and has its own session.
        """
        path = shutil.which(self._program)
        if path is None:
            raise UnsupportedError(
                f"wireguard {link}: {self._program} is not installed; a kernel without WireGuard "
                "needs it; run `apt-get install wireguard-go`"
            )
        try:
            # Silent, because otherwise it never closes our stdout and stderr.
            process = await asyncio.create_subprocess_exec(
                path,
                link,
                stdin=DEVNULL,
                stdout=DEVNULL,
                stderr=DEVNULL,
                start_new_session=True,
                cwd="/",
                env=_environment("silent"),
            )
        except OSError as error:
            raise PermanentError(f"{path}: it cannot be started: {error.strerror}") from error
        try:
            status = await process.wait()
        finally:
            await _end(process)
        if status:
            raise await self._failure(path, link)

    async def _failure(self, path: str, link: LinkName) -> ProviderError:
        """Start the program again in the foreground, where it prints the reason of its failure."""
        process = await asyncio.create_subprocess_exec(
            path,
            link,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=DEVNULL,
            cwd="/",
            env=_environment("error") | {"WG_PROCESS_FOREGROUND": "1"},
        )
        said = b""
        try:
            async with asyncio.timeout(_REASON_SECONDS):
                said, _ = await process.communicate()
        except TimeoutError:
            return TransientError(f"wireguard {link}: {self.name} it failed, but not in a second attempt")
        finally:
            await _end(process)
        lines = said.decode(errors="replace").strip().splitlines()
        reason = _STAMP.sub("", lines[-1]) if lines else "it gave no reason"
        return TransientError(f"wireguard {link}: {self.name} failed: {reason}{_advice(reason)}")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _advice(reason: str) -> str:
    if "/dev/net/tun does not exist" in reason:
        return "; run `modprobe tun`"
    if "socket in use" in reason:
        return "; a device of the same name runs in another network namespace that shares /var/run/wireguard"
    if "not permitted" in reason:
        return "; give routerd CAP_NET_ADMIN"
    return ""


def _environment(level: str) -> dict[str, str]:
    # Nothing of ours: the environment of a daemon may hold secrets, and this process outlives it.
    return {"PATH": os.environ.get("PATH", os.defpath), "LOG_LEVEL": level}
