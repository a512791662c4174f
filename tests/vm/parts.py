"""What the machine is made of: Debian's kernel with its modules or sources, and a static busybox.

All come by `apt-get download` and are unpacked into the user's cache, not installed: a kernel in
/boot would change what the developer's own machine starts next.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
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


def find() -> Parts:
    """Return the parts, fetching what is missing. Raises `MissingPart`."""
    image = _unpacked(_real_kernel())
    kernel = next((image / "boot").glob("vmlinuz-*"))
    release = kernel.name.removeprefix("vmlinuz-")
    modules = next(path for path in (image / "lib/modules", image / "usr/lib/modules") if path.is_dir())
    if not (modules / release / "modules.dep").exists():
        # depmod reads BASE/lib/modules, wherever the package has them.
        base = modules.parents[1]
        run("depmod", "-b", str(base), release)
    return Parts(kernel=kernel, modules=modules, release=release)


def busybox() -> Path:
    """Return a program that needs no other file of the host's. Raises `MissingPart`."""
    home = _unpacked(BUSYBOX)
    return next(path for path in (home / "bin/busybox", home / "usr/bin/busybox") if path.exists())


def cache() -> Path:
    """Return the directory that keeps what was fetched or built."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "routerd" / "vm"


def _real_kernel() -> str:
    """Return the package that the metapackage stands for, of those unpacked here the newest."""
    present = sorted(cache().glob("linux-image-*-amd64"), key=lambda path: path.stat().st_mtime)
    return present[-1].name if present else depended_on(KERNEL)


def depended_on(metapackage: str) -> str:
    """Return the package that a metapackage of the kernel stands for. Raises `MissingPart`."""
    for line in _apt("apt-cache", "depends", metapackage).splitlines():
        word = line.split()[-1]
        if line.strip().startswith("Depends:") and word.startswith("linux-"):
            return word
    raise MissingPart(f"apt knows no {metapackage}: the machine runs a kernel of Debian's")


def version(package: str) -> str:
    """Return the version of a package that apt would fetch. Raises `MissingPart`."""
    for line in _apt("apt-cache", "show", "--no-all-versions", package).splitlines():
        if line.startswith("Version:"):
            return line.split()[-1]
    raise MissingPart(f"apt knows no version of {package}")


def fetched(package: str, directory: Path) -> Path:
    """Fetch a package and return where in `directory` it was unpacked. Raises `MissingPart`."""
    unpacked = directory / "unpacked"
    unpacked.mkdir()
    _apt("apt-get", "download", "-qq", package, cwd=unpacked)
    archive = next(unpacked.glob("*.deb"))
    run("dpkg-deb", "-x", str(archive), str(unpacked))
    archive.unlink()
    return unpacked


def _unpacked(package: str) -> Path:
    home = cache() / package
    if home.is_dir():
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix="unpacking-") as scratch:
        made = fetched(package, Path(scratch))
        try:
            made.rename(home)
        except OSError as exc:
            # Somebody else was quicker.
            if not home.is_dir():
                raise MissingPart(f"{package} cannot be unpacked below {home.parent}: {exc}") from exc
    return home


def _apt(*command: str, cwd: Path | None = None) -> str:
    """Ask apt; when it knows nothing and we are root, let it read its lists once and ask again."""
    try:
        answer = run(*command, cwd=cwd)
        if answer.strip() or command[0] == "apt-get":
            return answer
    except MissingPart:
        if os.geteuid():
            raise
    if os.geteuid() == 0:
        run("apt-get", "update", "-qq")
    return run(*command, cwd=cwd)


def run(*command: str, cwd: Path | None = None) -> str:
    """Return the output of a command. Raises `MissingPart` when it is missing or fails."""
    env = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=env)
    except FileNotFoundError as exc:
        raise MissingPart(f"{command[0]} is not installed; `make system` installs it") from exc
    if done.returncode:
        raise MissingPart(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
