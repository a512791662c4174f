"""The first file system of the machine: busybox, the modules that reach the host's tree, and `init.sh`."""

from __future__ import annotations

import gzip
import io
import lzma
import stat
from collections.abc import Iterator
from pathlib import Path

from tests.vm.parts import MissingPart, Parts, busybox

INIT = Path(__file__).with_name("init.sh")
WANTED = ("virtio_pci", "virtio_console", "9pnet_virtio", "9p", "virtiofs", "overlay")
"""A bus, a terminal, the host's directories, and a writable layer above them."""


def build(parts: Parts) -> bytes:
    """Return an archive that the kernel unpacks (cpio newc, compressed by gzip)."""
    archive = _Archive()
    for directory in ("bin", "dev", "proc", "sys", "modules", "lower", "upper", "newroot"):
        archive.add(directory, stat.S_IFDIR | 0o755)
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.add("bin/busybox", stat.S_IFREG | 0o755, busybox().read_bytes())
    archive.add("bin/sh", stat.S_IFLNK | 0o777, b"busybox")
    archive.add("init", stat.S_IFREG | 0o755, INIT.read_bytes())
    for number, module in enumerate(_in_load_order(parts.modules / parts.release)):
        name = f"{number:02d}-{module.name.split('.')[0]}.ko"
        archive.add(f"modules/{name}", stat.S_IFREG | 0o644, _contents(module))
    return archive.close()


def _in_load_order(home: Path) -> Iterator[Path]:
    """Yield the wanted modules, each after what it depends on (modules.dep lists the nearest first)."""
    needs: dict[str, list[str]] = {}
    for line in (home / "modules.dep").read_text(encoding="ascii").splitlines():
        path, _, before = line.partition(":")
        needs[Path(path).name.split(".")[0].replace("-", "_")] = [*reversed(before.split()), path]
    done: set[str] = set()
    builtin = (home / "modules.builtin").read_text(encoding="ascii")
    for name in WANTED:
        if name not in needs and f"/{name}.ko" in builtin:
            continue
        if name not in needs:
            raise MissingPart(f"the kernel {home.name} has no module {name}")
        for path in needs[name]:
            if path not in done:
                done.add(path)
                yield home / path


def _contents(module: Path) -> bytes:
    """Return a module as the kernel takes it: Debian compresses them from 13 on."""
    data = module.read_bytes()
    return lzma.decompress(data) if module.suffix == ".xz" else data


class _Archive:
    """Writes entries in the format `newc`, cpio(5)."""

    def __init__(self) -> None:
        self._raw = io.BytesIO()
        self._count = 0

    def add(self, name: str, mode: int, data: bytes = b"", *, device: tuple[int, int] = (0, 0)) -> None:
        """Add one entry; parents come first."""
        self._count += 1
        path = name.encode() + b"\0"
        fields = (self._count, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
        self._raw.write(b"070701" + b"".join(b"%08x" % field for field in fields) + path)
        self._pad()
        self._raw.write(data)
        self._pad()

    def close(self) -> bytes:
        """End the archive and return it compressed."""
        self.add("TRAILER!!!", 0)
        return gzip.compress(self._raw.getvalue(), compresslevel=1, mtime=0)

    def _pad(self) -> None:
        self._raw.write(b"\0" * (-self._raw.tell() % 4))
