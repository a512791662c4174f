"""Ed25519 keys as texts and files. Reading and writing a file blocks."""

import base64
import binascii
import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from routerd.errors import PermanentError


def public_key(text: str) -> Ed25519PublicKey:
    """Return the key of a text; `ValueError` when it is not 32 bytes of base64."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 32:
        raise ValueError(f"{text[:60]!a} is not an Ed25519 public key (44 characters of base64)")
    return Ed25519PublicKey.from_public_bytes(raw)


def public_text(key: Ed25519PrivateKey) -> str:
    """Return the public half of a key as `public_key` reads it."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def read(path: Path) -> Ed25519PrivateKey:
    """Return the key of a file; `PermanentError` names the file, never its content."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(65536)
    except OSError as error:
        raise PermanentError(
            f"key file {path}: {error.strerror}; make it by routerd ed25519-key --make {path}"
        ) from error
    if stat.S_IMODE(mode) & 0o077:
        raise PermanentError(f"key file {path}: others may read it; run chmod 600 {path}")
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise PermanentError(f"key file {path}: not an unencrypted Ed25519 key in PEM; make another one")
    return key


def pem(key: Ed25519PrivateKey) -> bytes:
    """Return the content of a key's file, as `read` takes it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def make(path: Path) -> Ed25519PrivateKey:
    """Write a new key into a new file of mode 0600; `PermanentError` when the file exists."""
    key = Ed25519PrivateKey.generate()
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(pem(key))
    except OSError as error:
        raise PermanentError(f"key file {path}: not made; {error.strerror}") from error
    return key
