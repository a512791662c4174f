"""Runs every tier, the machine of the vm tier beside the others: `python -m tests.everything`.

The machine is booted once beforehand: what it is made of may have to be fetched or built. Its output
goes to a file, and is printed when it has ended. The run fails when either part fails, and what ends the
run ends both.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

OUTPUT = Path(".vm.log")
OTHERS = "not bench and not vm"
PATIENCE = 4500
"""Seconds after which the machine is ended; it judges nobody's speed."""


def main() -> int:
    """Run both parts and return 1 if one of them failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.everything", description=__doc__)
    parser.add_argument("--require", default="", help="tiers that must not be skipped, separated by commas")
    parser.add_argument("--workers", default="4", help="processes for all tiers but the machine's")
    parser.add_argument(
        "vm_tests", nargs="*", help="test files for the machine; it is not started without any"
    )
    asked = parser.parse_args()
    # `kill` ends it as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    others = [sys.executable, "-m", "pytest", "-q", "-n", asked.workers, "--dist", "loadfile"]
    others += ["-m", OTHERS, f"--require={asked.require}"]
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        if asked.vm_tests:
            subprocess.run(
                [sys.executable, "-m", "tests.vm", "--", "true"], stdin=subprocess.DEVNULL, check=True
            )
            _say(f"the machine boots: {time.monotonic() - began:.0f} s")
        machine = _machine(asked.vm_tests, stack) if asked.vm_tests else None
        failed = subprocess.run(others, check=False).returncode != 0
        _say(f"every tier but vm: {time.monotonic() - began:.0f} s")
        if machine is not None:
            failed |= machine.wait() != 0
            _say(OUTPUT.read_text(encoding="utf-8", errors="replace"))
            _say(f"with vm: {time.monotonic() - began:.0f} s")
    return int(failed)


def _machine(tests: Sequence[str], stack: contextlib.ExitStack) -> subprocess.Popen[bytes]:
    python = str(Path(sys.executable).absolute())
    inside = [
        python,
        "-m",
        "pytest",
        "-v",
        "-n",
        "3",
        "--dist",
        "loadfile",
        "-m",
        "vm",
        "--require=vm",
        *tests,
    ]
    words = [sys.executable, "-m", "tests.vm", "--seconds", str(PATIENCE), "--", *inside]
    said = stack.enter_context(OUTPUT.open("wb"))
    # It is not asked to end twice: Ctrl-C reaches it here, by us.
    started = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=said, stderr=said, process_group=0)
    stack.callback(started.wait)
    stack.callback(started.terminate)
    return started


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
