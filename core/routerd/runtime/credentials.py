"""What the enrollment listener shows and asks for, as its files are now: certificate, client CA, token."""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime
from pathlib import Path

import attrs

from routerd.control.enrollment import server_tls
from routerd.errors import ConfigError
from routerd.model.specs import ControlAPISpec
from routerd.runtime import secrets

Stamp = tuple[tuple[int, ...] | None, ...]
"""By file: which one it is and when it was written; none where there is no such file."""

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


@attrs.frozen(kw_only=True)
class Credentials:
    """Certificate and key, client CA and token of one moment; `ends` is the certificate's own end."""

    tls: ssl.SSLContext | None = None
    token: str | None = attrs.field(default=None, repr=False)
    ends: datetime | None = None


def read(spec: ControlAPISpec) -> Credentials:
    """Read the files that `spec` names; `ConfigError` or `ControlError` names one that cannot be used."""
    return Credentials(
        tls=server_tls(spec.tls) if spec.tls is not None else None,
        token=secrets.resolve(spec.token_from) if spec.token_from is not None else None,
        ends=end_of(spec.tls.cert_file) if spec.tls is not None else None,
    )


def stamp(spec: ControlAPISpec) -> Stamp:
    """Return what changes when one of the files is written or replaced."""
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
    """Return when the first certificate of a PEM file ends; `ConfigError` when it cannot be told."""
    try:
        first = _CERTIFICATE.search(file.read_bytes())
        return _end(ssl.PEM_cert_to_DER_cert(first.group().decode() if first is not None else ""))
    except (OSError, ValueError, IndexError) as error:
        raise ConfigError.single(
            str(file), f"no end of the certificate can be read in it: {error}"
        ) from error


def _end(certificate: bytes) -> datetime:
    # X.509 in DER (RFC 5280, 4.1): Certificate > TBSCertificate > version?, serial number, signature,
    # issuer, validity > notBefore, notAfter. The ssl module tells no end of one's own certificate.
    signed = _inside(_inside(certificate))
    parts = _parts(signed)
    if parts[0][0] == 0xA0:
        parts = parts[1:]
    kind, text = _parts(parts[3][1])[1]
    return datetime.strptime(
        # UTCTime has two digits of the year: 50 and later are of the last century.
        text.decode() if kind == 0x18 else ("19" if text[:2] >= b"50" else "20") + text.decode(),
        "%Y%m%d%H%M%SZ",
    ).replace(tzinfo=UTC)


def _inside(der: bytes) -> bytes:
    return _parts(der)[0][1]


def _parts(der: bytes) -> list[tuple[int, bytes]]:
    found = []
    while der:
        start, length = 2, der[1]
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(der[2:start], "big")
        found.append((der[0], der[start : start + length]))
        der = der[start + length :]
    return found
