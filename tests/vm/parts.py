"""What the machine is made of: Debian's kernel with its modules, and a static busybox.

Both come by `apt-get download` and are unpacked into the user's cache, not installed: a kernel in
/boot would change what the developer's own machine starts next.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import attrs

KERNEL = "linux-image-amd64"
"""The stock kernel; the cloud flavour has no 9p, with which the machine reads the host's tree."""
BUSYBOX = "busybox-static"


class MissingPart(Exception):
    """Something that the machine needs is not to be had here."""


@attrs.frozen(kw_only=True)
class Parts:
    """Paths of the host. `modules` is the directory to mount as /lib/modules."""

    kernel: Path
    modules: Path
    release: str
    busybox: Path


def find() -> Parts:
    """Return the parts, fetching what is missing. Raises `MissingPart`."""
    image = _unpacked(_real_kernel())
    kernel = next((image / "boot").glob("vmlinuz-*"))
    release = kernel.name.removeprefix("vmlinuz-")
    modules = next(path for path in (image / "lib/modules", image / "usr/lib/modules") if path.is_dir())
    if not (modules / release / "modules.dep").exists():
        # depmod reads BASE/lib/modules, wherever the package has them.
        base = modules.parents[1]
        _run("depmod", "-b", str(base), release)
    busybox = _unpacked(BUSYBOX)
    program = next(path for path in (busybox / "bin/busybox", busybox / "usr/bin/busybox") if path.exists())
    return Parts(kernel=kernel, modules=modules, release=release, busybox=program)


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "routerd" / "vm"


def _real_kernel() -> str:
    """Return the package that the metapackage stands for, of those unpacked here the newest."""
    present = sorted(_cache().glob("linux-image-*-amd64"), key=lambda path: path.stat().st_mtime)
    if present:
        return present[-1].name
    for line in _apt("apt-cache", "depends", KERNEL).splitlines():
        word = line.split()[-1]
        if line.strip().startswith("Depends:") and word.startswith("linux-image-"):
            return word
    raise MissingPart(f"apt knows no {KERNEL}: the machine runs Debian's kernel for amd64")


def _unpacked(package: str) -> Path:
    home = _cache() / package
    if home.is_dir():
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    fetched = home.with_name(f"{package}.{os.getpid()}")
    fetched.mkdir()
    try:
        _apt("apt-get", "download", "-qq", package, cwd=fetched)
        archive = next(fetched.glob("*.deb"))
        _run("dpkg-deb", "-x", str(archive), str(fetched))
        archive.unlink()
        fetched.chmod(0o755)
        fetched.rename(home)
    except OSError as exc:
        if not home.is_dir():
            raise MissingPart(f"{package} cannot be unpacked below {home.parent}: {exc}") from exc
    finally:
        _run("rm", "-rf", str(fetched))
    return home


def _apt(*command: str, cwd: Path | None = None) -> str:
    """Ask apt; when it knows nothing and we are root, let it read its lists once and ask again."""
    try:
        answer = _run(*command, cwd=cwd)
        if answer.strip() or command[0] == "apt-get":
            return answer
    except MissingPart:
        if os.geteuid():
            raise
    if os.geteuid() == 0:
        _run("apt-get", "update", "-qq")
    return _run(*command, cwd=cwd)


def _run(*command: str, cwd: Path | None = None) -> str:
    env = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=env)
    except FileNotFoundError as exc:
        raise MissingPart(f"{command[0]} is not installed; `make system` installs it") from exc
    if done.returncode:
        raise MissingPart(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
