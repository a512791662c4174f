"""Runs a command in a machine with a kernel of Debian's: `python -m tests.vm -- COMMAND...`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.vm import machine
from tests.vm.parts import MissingPart

CONSOLE_LINES = 40
CAUSE_LINES = 5


def main() -> int:
    """Run it and return its exit status; say where the results are when it failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path(".vm"), help="directory for results, made empty")
    parser.add_argument("--seconds", type=float, default=1200, help="end the machine after this time")
    parser.add_argument("--kind", choices=machine.KINDS, default="auto", help="of the machine")
    parser.add_argument("command", nargs="+", help="a program and its arguments; one word is a shell's line")
    asked = parser.parse_args()
    command = asked.command if len(asked.command) > 1 else ["sh", "-c", asked.command[0]]
    try:
        status = machine.run(command, results=asked.results, seconds=asked.seconds, kind=asked.kind)
    except MissingPart as exc:
        sys.stderr.write(f"vm: {exc}\n")
        return machine.NO_STATUS
    if status == machine.TIMED_OUT:
        sys.stderr.write(f"vm: it did not end in {asked.seconds:g} s\n")
    if status == machine.NO_STATUS:
        sys.stderr.write("vm: the machine ended without a status; the last words of its console:\n")
        console = (asked.results / "console.log").read_text(encoding="utf-8", errors="replace")
        sys.stderr.write("".join(f"    {line}\n" for line in _last_words(console.splitlines())))
    return status


def _last_words(console: list[str]) -> list[str]:
    """Return what a person needs of it: its end, and before that where the kernel says why it died.

    The dump that follows a panic is longer on some machines than what is shown of the end.
    """
    died = next((at for at, line in enumerate(console) if "Kernel panic" in line), len(console))
    end = max(0, len(console) - CONSOLE_LINES)
    cause = console[max(0, died - CAUSE_LINES) : died + 1] if died < end else []
    return [*cause, *(["..."] if cause else []), *console[end:]]


if __name__ == "__main__":
    sys.exit(main())
