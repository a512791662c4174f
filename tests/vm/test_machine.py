"""The machine that the vm tier runs in, seen from outside: what goes in, what comes back, how it ends."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.waiting import until
from tests.vm import initramfs, machine

pytestmark = [pytest.mark.live, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]


def run(
    command: str, results: Path, *, seconds: int = 120, kind: str = "auto"
) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "tests.vm", "--results", str(results), "--seconds", str(seconds)]
    return subprocess.run(
        [*words, "--kind", kind, "--", command],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        timeout=380,
    )


@pytest.mark.parametrize("kind", ["auto", "tcg"])
def test_output_status_and_files_come_back_and_the_host_stays_as_it_is(kind: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    mark.write_text("of the host")
    done = run(
        f"uname -r; pwd; test -t 1 && echo terminal; echo of the machine > {mark}; cat {mark}; "
        "cp /proc/version /run/vm/version; unshare -Urnm true && echo namespaces; exit 7",
        tmp_path / "results",
        kind=kind,
    )
    assert done.returncode == 7, done.stdout + done.stderr
    assert done.stdout.splitlines()[1:] == [str(ROOT), "of the machine", "namespaces"]
    assert platform.release() not in done.stdout
    assert mark.read_text() == "of the host"
    assert "Linux version" in (tmp_path / "results" / "version").read_text()
    assert (tmp_path / "results" / "console.log").stat().st_size > 0


def test_what_does_not_end_is_ended(tmp_path: Path) -> None:
    began = time.monotonic()
    done = run("sleep infinity", tmp_path / "results", seconds=5)
    assert done.returncode == machine.TIMED_OUT
    assert "did not end in 5 s" in done.stderr
    assert time.monotonic() - began < 5 + machine.STARTING


# Process 1 cannot be killed by a signal, but it can be made to run into nothing, and then no kernel goes on.
WIPE = """
import contextlib, re
with open("/proc/1/mem", "r+b", 0) as memory, open("/proc/1/maps") as maps:
    for begin, end in re.findall(r"(?m)^(\\w+)-(\\w+) r-xp", maps.read()):
        with contextlib.suppress(OSError, OverflowError, ValueError):
            memory.seek(int(begin, 16))
            memory.write(bytes(int(end, 16) - int(begin, 16)))
"""


def test_a_kernel_that_dies_is_told_by_its_last_words(tmp_path: Path) -> None:
    done = run(f"{sys.executable} -c '{WIPE}'", tmp_path / "results")
    assert done.returncode == machine.NO_STATUS
    assert "Kernel panic" in done.stderr


def test_the_machine_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    results = tmp_path / "results"
    words = [sys.executable, "-m", "tests.vm", "--results", str(results), "--", "touch /run/vm/up; sleep 600"]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.DEVNULL) as started:
        until((results / "up").exists)
        assert _emulators(results)
        started.kill()
    until(lambda: not _emulators(results))


def _emulators(results: Path) -> list[str]:
    done = subprocess.run(
        ["pgrep", "-f", f"(qemu-system|/linux ).*{results}"], capture_output=True, text=True, check=False
    )
    return [number for number in done.stdout.split() if int(number) != os.getpid()]


def test_modules_are_loaded_after_what_they_need(tmp_path: Path) -> None:
    home = tmp_path / "modules" / "6.1"
    home.mkdir(parents=True)
    (home / "modules.builtin").write_text("kernel/drivers/virtio/virtio_pci.ko\n")
    lines = ["a/virtio_console.ko: a/ring.ko a/base.ko", "a/ring.ko: a/base.ko", "a/base.ko:"]
    lines += [f"a/{name}.ko:" for name in ("9pnet_virtio", "9p", "virtiofs", "overlay")]
    (home / "modules.dep").write_text("\n".join(lines))
    found = [path.stem for path in initramfs._in_load_order(home)]
    assert found == ["base", "ring", "virtio_console", "9pnet_virtio", "9p", "virtiofs", "overlay"]
