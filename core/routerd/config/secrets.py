"""Reads secrets from files and the environment, at the moment of use; no error shows their content."""

import binascii
import os
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path

from routerd.errors import ConfigError
from routerd.model.specs import SecretSource

LONGEST = 65536


def resolve(source: SecretSource, *, environ: Mapping[str, str] | None = None) -> str:
    """Return the secret that `source` names: trimmed, and decoded if the source says base64.

    Bytes that are not UTF-8 become lone surrogates (`surrogateescape`), so that a key of random
    bytes survives. Raises `ConfigError` that names the place, never the content. Blocks for the
    time of reading a small file.
    """
    return decoded(*_read(source, os.environ if environ is None else environ), base64=source.base64)


def decoded(where: str, text: str, *, base64: bool = False) -> str:
    """Return the secret in `text`: trimmed, and decoded with `base64`.

    Raises `ConfigError` that names its place `where`, never the content.
    """
    text = text.strip()
    if base64:
        try:
            text = b64decode("".join(text.split()), validate=True).decode(errors="surrogateescape")
        except (binascii.Error, ValueError) as error:
            raise ConfigError.single(where, "the secret is not base64", hint="remove base64: true") from error
    if not text:
        raise ConfigError.single(where, "the secret is empty", hint="write the secret into it")
    return text


def _read(source: SecretSource, environ: Mapping[str, str]) -> tuple[str, str]:
    if source.file is not None:
        return str(source.file), _read_file(source.file)
    if source.env is None:
        raise ConfigError.single("secret", "neither file nor env is given", hint="give one of them")
    where = f"environment variable {source.env}"
    if source.env not in environ:
        raise ConfigError.single(where, "it is not set", hint="set it in the environment of routerd")
    return where, environ[source.env].strip()


def _read_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST + 1)
    except OSError as error:
        raise ConfigError.single(
            str(path),
            f"the secret cannot be read: {error.strerror}",
            hint="check that it exists and that routerd may read it",
        ) from error
    if len(content) > LONGEST:
        raise ConfigError.single(
            str(path), f"it is larger than {LONGEST} bytes", hint="name the file that holds the secret"
        )
    return content.strip().decode(errors="surrogateescape")
