"""Runs nft: reads our table, and applies one script to it."""

import asyncio
import os

from routerd.errors import PermanentError, TransientError, UnsupportedError
from routerd_fabric_policy.ruleset import FAMILY, TABLE, Held, Ruleset, parsed
from routerd_fabric_policy.script import Sets, scripts

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEADLINE = 15.0
"""Seconds for one run of nft."""

_ABSENT = "No such file or directory"


class Nft:
    """The kernel's packet filter by the program nft. Implements `tables.PacketFilter`."""

    async def read(self) -> Held:
        """Return what the kernel holds under the name of our table."""
        try:
            text = await _nft("-j", "list", "table", FAMILY, TABLE)
        except PermanentError as error:
            if _ABSENT in str(error):
                return Held()
            raise
        try:
            return parsed(text)
        except (KeyError, TypeError, ValueError) as error:
            raise PermanentError(f"nft: table {FAMILY} {TABLE} cannot be read: {error!r}") from error

    async def change(self, held: Held, ruleset: Ruleset | None, sets: Sets) -> None:
        """Apply the difference, the rules of it in one transaction; nothing runs when there is none."""
        for text in scripts(held, ruleset, sets):
            await _nft("-f", "-", text=text)


async def _nft(*words: str, text: str = "") -> str:
    """Run nft and return its output.

    `UnsupportedError` when it is not installed, `PermanentError` with its own words when it fails. A
    cancellation kills it; the kernel has then the whole transaction or nothing of it.
    """
    path = f"{os.environ.get('PATH', '')}:{_PATH}"
    try:
        process = await asyncio.create_subprocess_exec(
            "nft",
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": path, "LC_ALL": "C"},
        )
    except FileNotFoundError as error:
        raise UnsupportedError("nft: it is not installed; install nftables") from error
    except OSError as error:
        raise TransientError(f"nft: it cannot be started: {error.strerror}") from error
    try:
        async with asyncio.timeout(DEADLINE):
            output, errors = await process.communicate(text.encode())
    except TimeoutError as error:
        raise TransientError(f"nft: it did not end within {DEADLINE:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        lines = [line.strip() for line in errors.decode(errors="replace").splitlines() if line.strip()]
        raise PermanentError(f"nft: {'; '.join(lines[:2]) or f'exit status {process.returncode}'}")
    return output.decode(errors="replace")
