"""Runs a system program to its end, with a deadline, without blocking the loop."""

import asyncio
import os

from routerd.errors import PermanentError, TransientError, UnsupportedError

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEADLINE = 15.0
"""Seconds for one program; a packet filter program waits up to 5 of them for the lock of another."""


async def run(*words: str, text: str = "") -> str:
    """Run a program with `text` as its input and return its output.

    Raises `UnsupportedError` when it is not installed, `PermanentError` with its own words when
    it fails, `TransientError` after 15 s. A cancellation kills the program and waits for its end.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", "") + ":" + _PATH, "LC_ALL": "C"},
        )
    except FileNotFoundError as exc:
        raise UnsupportedError(f"{words[0]}: it is not installed; install it") from exc
    except OSError as exc:
        raise TransientError(f"{words[0]}: it cannot be started: {exc.strerror}") from exc
    try:
        async with asyncio.timeout(DEADLINE):
            output, errors = await process.communicate(text.encode())
    except TimeoutError as exc:
        raise TransientError(f"{words[0]}: it did not end within {DEADLINE:g} s") from exc
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        lines = [line.strip() for line in errors.decode(errors="replace").splitlines() if line.strip()]
        words_of_program = "; ".join(lines[:2]) or f"exit status {process.returncode}"
        raise PermanentError(f"{words[0]}: {words_of_program}")
    return output.decode(errors="replace")
