"""The metadata service of an OCI instance, version 2, and the certificates that it hands out.

Plain HTTP; runs once per instance at 169.254.169.254, where the wire tells which instance asks.
The certificates make up an instance principal: the leaf names the instance and its
tenancy, and the auth service of the same emulated cloud trusts their issuer.
"""

import datetime as dt
import warnings
from collections.abc import Mapping, Sequence

import attrs
from aiohttp import web
from aiohttp.typedefs import Handler
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

_BITS = 2048
_LIFETIME = dt.timedelta(hours=12)
_SKEW = dt.timedelta(minutes=5)


@attrs.frozen(kw_only=True)
class Principal:
    """An instance's certificate, its key, and its issuer's certificate, all PEM."""

    certificate: bytes
    key: bytes
    intermediate: bytes


class Issuer:
    """The authority that certifies instances of one emulated region."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "PKISVC Identity Intermediate lab")])
        self.certificate = self._sign(name, name, self._key.public_key(), authority=True)

    def principal(self, *, instance: str, compartment: str, tenancy: str) -> Principal:
        """Return new credentials of an instance."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
        names = (
            (NameOID.COMMON_NAME, instance),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, "opc-certtype:instance"),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, f"opc-compartment:{compartment}"),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, f"opc-instance:{instance}"),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, f"opc-tenant:{tenancy}"),
        )
        with warnings.catch_warnings():
            # OCIDs are longer than X.520 allows for a name; so are the names in OCI's own certificates.
            warnings.simplefilter("ignore", UserWarning)
            subject = x509.Name([x509.NameAttribute(oid, text, _validate=False) for oid, text in names])
        leaf = self._sign(subject, self.certificate.subject, key.public_key(), authority=False)
        return Principal(
            certificate=leaf.public_bytes(serialization.Encoding.PEM),
            key=key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            ),
            intermediate=self.certificate.public_bytes(serialization.Encoding.PEM),
        )

    def _sign(
        self, subject: x509.Name, issuer: x509.Name, key: rsa.RSAPublicKey, *, authority: bool
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _SKEW)
            .not_valid_after(now + _LIFETIME)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )


def metadata_app(
    instance: Mapping[str, object], vnics: Sequence[Mapping[str, object]], principal: Principal
) -> web.Application:
    """Return the service for one instance."""
    app = web.Application(middlewares=[_guard])
    documents: dict[str, object] = {
        "/opc/v2/instance/": dict(instance),
        "/opc/v2/instance/regionInfo/": instance["regionInfo"],
        "/opc/v2/vnics/": [dict(vnic) for vnic in vnics],
    }
    for path, document in documents.items():
        handler = _json(document)
        app.router.add_get(path, handler)
        app.router.add_get(path.rstrip("/"), handler)
    for key, value in instance.items():
        if isinstance(value, str):
            app.router.add_get(f"/opc/v2/instance/{key}", _text(value.encode()))
    for name, content in (
        ("cert.pem", principal.certificate),
        ("key.pem", principal.key),
        ("intermediate.pem", principal.intermediate),
    ):
        app.router.add_get(f"/opc/v2/identity/{name}", _text(content))
    return app


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer 404 without the header, as the service does (it never says 401)."""
    # A forwarded request comes from a web application that an attacker tricked.
    if request.headers.get("Authorization") != "Bearer Oracle" or "X-Forwarded-For" in request.headers:
        raise web.HTTPNotFound(text="")
    return await handler(request)


def _json(document: object) -> Handler:
    async def handle(_: web.Request) -> web.StreamResponse:
        return web.json_response(document)

    return handle


def _text(content: bytes) -> Handler:
    async def handle(_: web.Request) -> web.StreamResponse:
        return web.Response(body=content, content_type="text/plain")

    return handle
