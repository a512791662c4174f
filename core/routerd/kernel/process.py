"""Runs a system program to its end, with a deadline, without blocking the loop."""

from __future__ import annotations

import asyncio
import os

from routerd.errors import PermanentError, TransientError, UnsupportedError

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEADLINE = 15.0
"""Seconds; a packet filter program waits at most 5 of them for the lock of another."""


async def run(*words: str, text: str = "") -> str:
    """Run a program with `text` as its input and return its output.

    Raises `UnsupportedError` when it is not installed, `PermanentError` with its own words when
    it fails, `TransientError` after 15 s. A cancelled program is killed and waited for.
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
        raise UnsupportedError(f"{words[0]} is not installed") from exc
    except OSError as exc:
        raise TransientError(f"{words[0]} cannot be started: {exc.strerror}") from exc
    try:
        async with asyncio.timeout(DEADLINE):
            output, errors = await process.communicate(text.encode())
    except TimeoutError as exc:
        raise TransientError(f"{words[0]} did not end within {DEADLINE:g} s") from exc
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        lines = [line.strip() for line in errors.decode(errors="replace").splitlines() if line.strip()]
        words_of_program = "; ".join(lines[:2]) or f"exit status {process.returncode}"
        raise PermanentError(f"{words[0]}: {words_of_program}")
    return output.decode(errors="replace")
