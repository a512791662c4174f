"""The files of the enrollment listener as they are now: certificate, client CA, token."""

import ssl
from datetime import datetime
from pathlib import Path

import attrs

from routerd.config import secrets
from routerd.control.enrollment import server_tls
from routerd.errors import ConfigError
from routerd.model.specs import ControlAPISpec

Stamp = tuple[tuple[int, ...] | None, ...]
"""By file: its identity and the time of its last change; none for a file that does not exist."""


@attrs.frozen(kw_only=True)
class ListenerFiles:
    """Certificate and key, client CA and token of one moment; `ends` is when the certificate expires."""

    tls: ssl.SSLContext | None = None
    token: str | None = attrs.field(default=None, repr=False)
    ends: datetime | None = None


def read(spec: ControlAPISpec) -> ListenerFiles:
    """Read the files that `spec` names; `ConfigError` or `ControlError` names an unusable one."""
    return ListenerFiles(
        tls=server_tls(spec.tls) if spec.tls is not None else None,
        token=secrets.resolve(spec.token_from) if spec.token_from is not None else None,
        ends=end_of(spec.tls.cert_file) if spec.tls is not None else None,
    )


def stamp(spec: ControlAPISpec) -> Stamp:
    """Return a value that changes when one of the files is written or replaced."""
    return tuple(_stamp(path) for path in _files(spec))


def _files(spec: ControlAPISpec) -> list[Path]:
    named = [spec.token_from.file] if spec.token_from is not None else []
    if spec.tls is not None:
        named += [spec.tls.cert_file, spec.tls.key_file, spec.tls.client_ca_file]
    return [path for path in named if path is not None]


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def end_of(file: Path) -> datetime:
    """Return when the first certificate of a PEM file expires; `ConfigError` when it cannot be read."""
    # The ssl module does not give the expiry of the own certificate.
    from cryptography import x509  # noqa: PLC0415 - most routers have no listener with TLS

    try:
        return x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc
    except (OSError, ValueError) as error:
        raise ConfigError.single(str(file), f"its expiry cannot be read: {error}") from error
