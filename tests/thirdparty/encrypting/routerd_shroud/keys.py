"""Private keys in files of this plugin's own form. Reading and writing a file blocks."""

import base64
import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from routerd.errors import PermanentError, TransientError
from routerd.model.names import PublicKey

_HEAD = "shroud-key-1 "


def read(path: Path) -> X25519PrivateKey:
    """Return the key of a file; `PermanentError` names the file, never its content."""
    try:
        text = path.read_text(encoding="ascii").strip()
        raw = bytes.fromhex(text.removeprefix(_HEAD)) if text.startswith(_HEAD) else b""
    except FileNotFoundError as error:
        raise TransientError(f"key file {path}: it does not exist yet") from error
    except (OSError, ValueError) as error:
        raise PermanentError(f"key file {path}: not readable; make another one") from error
    if len(raw) != 32:
        raise PermanentError(f"key file {path}: not a key of shroud; make another one")
    return X25519PrivateKey.from_private_bytes(raw)


def ensure(path: Path, *, read_only: bool) -> X25519PrivateKey:
    """Return the key of a file; make a missing one first, but not in a dry run."""
    if read_only or path.exists():
        return read(path)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(_HEAD + X25519PrivateKey.generate().private_bytes_raw().hex() + "\n")
    return read(path)


def public(key: X25519PrivateKey) -> PublicKey:
    """Return the public half, as a claim carries it."""
    return PublicKey(base64.b64encode(key.public_key().public_bytes_raw()).decode())
