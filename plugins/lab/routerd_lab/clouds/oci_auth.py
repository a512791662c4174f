"""Authentication of an emulated OCI region: request signatures, and session tokens for instances.

From "Request Signatures" of the OCI documentation (draft-cavage-http-signatures-08) and from what the
official SDK's `X509FederationClient` sends to the auth service and expects of it.
"""

import base64
import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime

from aiohttp import web
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from routerd_lab.clouds.metadata_oci import Issuer
from routerd_lab.clouds.oci_resource import ApiError

_TOKEN_SECONDS = 1200
_SKEW_SECONDS = 300
_SIGNATURE = re.compile(r'(\w+)="([^"]*)"')


class Gatekeeper:
    """Verifies every request. `keys` are API keys by key id (`tenancy/user/fingerprint`)."""

    def __init__(self, *, tenancy: str, issuer: Issuer, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.keys: dict[str, rsa.RSAPublicKey] = {}
        self._tenancy = tenancy
        self._issuer = issuer
        self._token_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    async def authenticate(self, request: web.Request) -> None:
        """Verify the signature of a request; raises `ApiError` 401 otherwise."""
        kind, _, rest = request.headers.get("Authorization", "").partition(" ")
        fields = dict(_SIGNATURE.findall(rest))
        if kind != "Signature" or not {"keyId", "headers", "signature"} <= fields.keys():
            raise ApiError(
                401,
                "NotAuthenticated",
                "The required information to complete authentication was not provided.",
            )
        key = self._key_of(fields["keyId"])
        signed = fields["headers"].split()
        required = {"date", "(request-target)", "host"}
        if request.method in ("PUT", "POST"):
            required |= {"content-length", "content-type", "x-content-sha256"}
        missing = required - set(signed)
        body = await request.read()
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        stale = "date" in signed and _age(request.headers.get("date", ""), self.clock()) > _SKEW_SECONDS
        if (
            missing
            or stale
            or ("x-content-sha256" in signed and request.headers["x-content-sha256"] != digest)
        ):
            raise ApiError(
                401,
                "NotAuthenticated",
                "The required information to complete authentication was not provided or was incorrect.",
            )
        lines = [
            f"(request-target): {request.method.lower()} {request.raw_path}"
            if name == "(request-target)"
            else f"{name}: {request.headers.get(name, '')}"
            for name in signed
        ]
        try:
            key.verify(
                base64.b64decode(fields["signature"]),
                "\n".join(lines).encode(),
                padding.PKCS1v15(),
                hashes.SHA256(),
            )
        except InvalidSignature:
            raise ApiError(401, "NotAuthenticated", "Failed to verify the HTTP(S) Signature") from None

    def _key_of(self, key_id: str) -> rsa.RSAPublicKey:
        """Return the key behind a key id: a session token's (`ST$...`), or an API key's."""
        if key_id in self.keys:
            return self.keys[key_id]
        if key_id.startswith("ST$"):
            head, _, signature = key_id[3:].rpartition(".")
            try:
                self._token_key.public_key().verify(
                    _unbase64(signature), head.encode(), padding.PKCS1v15(), hashes.SHA256()
                )
                claims = json.loads(_unbase64(head.split(".")[1]))
                jwk = json.loads(claims["jwk"])
                if claims["exp"] > self.clock():
                    return rsa.RSAPublicNumbers(e=_integer(jwk["e"]), n=_integer(jwk["n"])).public_key()
            except (InvalidSignature, ValueError, KeyError, IndexError) as error:
                raise ApiError(401, "NotAuthenticated", "The security token is not ours.") from error
        raise ApiError(401, "NotAuthenticated", "The security token or key is unknown or has expired.")

    async def federate(self, request: web.Request) -> web.StreamResponse:
        """Give a session token to the holder of an instance's certificate (`POST /v1/x509`)."""
        asked = json.loads(await request.read())
        try:
            leaf = x509.load_der_x509_certificate(base64.b64decode(asked["certificate"]))
            leaf.verify_directly_issued_by(self._issuer.certificate)
            loaded = serialization.load_der_public_key(base64.b64decode(asked["publicKey"]))
        except (InvalidSignature, ValueError, KeyError, TypeError):
            raise ApiError(401, "NotAuthenticated", "Certificate is not trusted") from None
        fingerprint = ":".join(f"{octet:02X}" for octet in leaf.fingerprint(hashes.SHA1()))  # noqa: S303 - as the SDK
        public = leaf.public_key()
        if not isinstance(public, rsa.RSAPublicKey) or not isinstance(loaded, rsa.RSAPublicKey):
            raise ApiError(401, "NotAuthenticated", "Only RSA keys are supported")
        kind, _, rest = request.headers.get("Authorization", "").partition(" ")
        fields = dict(_SIGNATURE.findall(rest))
        if kind != "Signature" or fields.get("keyId") != f"{self._tenancy}/fed-x509/{fingerprint}":
            raise ApiError(401, "NotAuthenticated", "The key id does not match the certificate")
        now = int(self.clock())
        numbers = loaded.public_numbers()
        jwk = {
            "kty": "RSA",
            "n": _base64(_octets(numbers.n)),
            "e": _base64(_octets(numbers.e)),
            "alg": "RS256",
        }
        claims: dict[str, object] = {
            "sub": "instance",
            "opc-tenant": self._tenancy,
            "jwk": json.dumps(jwk),
            "ptype": "instance",
        }
        claims["iss"] = "authService.oracle.com"
        claims["iat"], claims["exp"] = now, now + _TOKEN_SECONDS
        return web.json_response({"token": self._token(claims)})

    def _token(self, claims: Mapping[str, object]) -> str:
        header = {"kid": "asw", "alg": "RS256"}
        head = ".".join(_base64(json.dumps(part).encode()) for part in (header, claims))
        signature = self._token_key.sign(head.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{head}.{_base64(signature)}"


def _age(date: str, now: float) -> float:
    try:
        return abs(now - parsedate_to_datetime(date).timestamp())
    except ValueError:
        return float("inf")


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _octets(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _integer(text: str) -> int:
    return int.from_bytes(_unbase64(text), "big")
