"""How the machine gets the host's tree: by virtiofs where Debian's daemon for it is, else by 9p.

A Python that starts in the machine opens some thousand files. Each costs several requests, and the
emulator answers those of 9p in its one main thread; virtiofsd(1) answers in threads of its own.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
from tests.vm.parts import MissingPart

DAEMON = Path("/usr/lib/qemu/virtiofsd")
_DEADLINE = 30.0

# In a mount namespace of its own: the whole tree once more, read-only, for the daemon to offer.
_OFFER = """
set -e
mount --make-rprivate /
mount --rbind / {tree}
findmnt -Rnro TARGET {tree} | while read -r target; do
  mount -o remount,bind,ro "$target" 2>/dev/null || true
done
exec {daemon} -f -o source={tree} -o cache=always -o no_posix_lock -o log_level=err --socket-path={socket}
"""


@attrs.frozen(kw_only=True)
class Offer:
    """The emulator's options, and what `init.sh` reads on the kernel's command line."""

    options: tuple[str, ...]
    parameter: str


@contextmanager
def offered(scratch: Path, memory: int, log: Path) -> Iterator[Offer]:
    """Offer the host's tree, read-only, for as long as the context lasts; `memory` is in MiB."""
    if os.geteuid() or not DAEMON.exists():
        yield Offer(options=nine_p(Path("/"), "host", ",readonly=on"), parameter="host=9p")
        return
    tree, socket = scratch / "tree", scratch / "host.sock"
    tree.mkdir()
    script = _OFFER.format(tree=shlex.quote(str(tree)), daemon=DAEMON, socket=shlex.quote(str(socket)))
    command = ("setpriv", "--pdeathsig", "KILL", "--", "unshare", "-m", "sh", "-c", script)
    with log.open("wb") as said, subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=said) as daemon:
        try:
            _wait_for(socket, daemon, log)
            yield Offer(
                options=(
                    *("-object", f"memory-backend-memfd,id=memory,size={memory}M,share=on"),
                    *("-machine", "memory-backend=memory"),
                    *("-chardev", f"socket,id=host,path={socket}"),
                    *("-device", "vhost-user-fs-pci,chardev=host,tag=host"),
                ),
                parameter="host=virtiofs",
            )
        finally:
            daemon.kill()


def nine_p(path: Path, tag: str, mode: str = "") -> tuple[str, str]:
    """Return the emulator's options for a directory by 9p."""
    # A comma in a path would end the option; doubled it is part of it (qemu(1), -virtfs).
    where = str(path.absolute()).replace(",", ",,")
    return "-virtfs", f"local,path={where},mount_tag={tag},security_model=none,multidevs=remap{mode}"


def _wait_for(socket: Path, daemon: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _DEADLINE
    while not socket.exists():
        if daemon.poll() is not None or time.monotonic() > deadline:
            raise MissingPart(f"{DAEMON} does not start: {log.read_text(errors='replace').strip()}")
        time.sleep(0.02)
