"""The process behind a socket: known by a descriptor that no other process gets."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from routerd.spi import Helper

LISTENS = """
import socket, sys
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
listening.listen()
print("ready", flush=True)
sys.stdin.read()
"""


def behind(path: Path, *before: str) -> tuple[subprocess.Popen[str], Helper | None]:
    process = subprocess.Popen(
        [*before, sys.executable, "-c", LISTENS, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    with socket.socket(socket.AF_UNIX) as connected:
        connected.connect(str(path))
        return process, Helper.behind(connected)


def test_a_helper_is_the_process_that_listens_and_can_be_killed(tmp_path: Path) -> None:
    process, helper = behind(tmp_path / "s")
    with process:
        assert helper is not None
        assert helper.process == process.pid
        assert helper.is_in_our_network()
        helper.kill()
        assert process.wait() == -9
        helper.kill()
        assert helper.is_in_our_network()  # nobody can tell
        helper.close()


@pytest.mark.netns
def test_a_helper_of_another_network_namespace_is_known(tmp_path: Path) -> None:
    process, helper = behind(tmp_path / "s", "unshare", "-Urn")
    with process:
        assert helper is not None
        assert not helper.is_in_our_network()
        helper.kill()
        helper.close()
