"""Private keys in files: reads them, makes missing ones, rewrites and prints none."""

import base64
import binascii
import contextlib
import os
import secrets
from pathlib import Path

from routerd.errors import PermanentError, TransientError
from routerd.model.names import PublicKey
from routerd_transport_wireguard import curve

_KEY_BYTES = 32
_MOST_BYTES = 1024


def ensure_private_key(path: Path, *, read_only: bool = False) -> bytes:
    """Return the 32 bytes of the key in `path`; make a missing file (0600, directory 0700) first.

    Blocks on the disk. Raises `PermanentError` for a file without a key, and `TransientError` for a
    missing one in a dry run.
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            return read_key(path)
        if read_only:
            raise TransientError(f"private key {path}: it does not exist yet; a dry run does not make it")
        # `mkdir(parents=True)` gives its mode to the last directory only.
        for directory in reversed([each for each in path.parents if not each.exists()]):
            directory.mkdir(mode=0o700, exist_ok=True)
        _write_new(path, base64.b64encode(curve.new_private_key()) + b"\n")
        return read_key(path)
    except OSError as exc:
        raise _unusable(path, exc) from exc


def load_key(path: Path) -> bytes:
    """Return the 32 bytes of a key file that must exist; blocks on the disk.

    Raises `TransientError` for a missing file and `PermanentError` for an unusable one.
    """
    try:
        return read_key(path)
    except FileNotFoundError as exc:
        raise TransientError(f"key {path}: no such file; make one with `wg genkey` or `wg genpsk`") from exc
    except OSError as exc:
        raise _unusable(path, exc) from exc


def read_key(path: Path) -> bytes:
    """Return the 32 bytes of a key file in standard base64; `PermanentError` for another file."""
    try:
        with path.open("rb") as file:
            # A key is 44 letters; a wrong, large file is not read whole.
            key = base64.b64decode(file.read(_MOST_BYTES).strip(), validate=True)
    except binascii.Error as exc:
        raise PermanentError(f"key {path}: not base64; make one with `wg genkey`") from exc
    if len(key) != _KEY_BYTES:
        raise PermanentError(f"key {path}: {len(key)} bytes, not {_KEY_BYTES}; make one with `wg genkey`")
    return key


def public_key_of(private_key: bytes) -> PublicKey:
    """Return the public key of a private one (RFC 7748)."""
    return PublicKey(base64.b64encode(curve.public_key(private_key)).decode())


def _unusable(path: Path, exc: OSError) -> PermanentError:
    return PermanentError(f"key {path}: {(exc.strerror or str(exc)).lower()}")


def _write_new(path: Path, text: bytes) -> None:
    """Make `path` complete or not at all; keep the file of a faster process."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
