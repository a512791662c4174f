"""The leaf's side of enrollment: submit a claim to a route reflector and fetch who the reflectors are.

A target is an `http(s)://` URL or `unix:<path>`. Every failure names the target and the cause; its
type says whether a retry can help.
"""

import errno
import json
import re
import ssl
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal, cast
from urllib.parse import quote

import aiohttp
import attrs

from routerd.control.ports import API_VERSION, PREFIX, PresentedProof, Revoked
from routerd.errors import ControlError, PermanentError, ProviderError, TransientError
from routerd.model.claim import Claim, Reflector
from routerd.model.names import Ref
from routerd.model.specs.claim_codec import claim_to_document
from routerd.model.specs.enrollment import DEFAULT_JOIN_METHOD, ClientTLSSpec
from routerd.model.specs.rr_set import reflectors
from routerd.spi import Clock, JSONValue

DEADLINE = 10.0
MAX_ANSWER = 16 << 20
MAX_ERROR = 1 << 20
RETRY_PAUSE = 0.3
TRIES = 3
TRIES_SOCKET = 10

CHALLENGE = re.compile(r"[!-~]{1,512}", re.ASCII)
"""A challenge as a leaf takes it from a reflector."""

_NOBODY_THERE = (errno.ECONNREFUSED, errno.ENOENT, errno.ENOTSOCK, errno.ECONNRESET)
_OLDER_SERVER = (404, 501)


class ClaimRejected(PermanentError):
    """A route reflector refused a claim; `reason` is its code, or empty when it gave none."""

    def __init__(self, message: str, *, reason: str) -> None:
        self.reason = reason
        super().__init__(message)


@attrs.frozen(kw_only=True)
class ClaimAccepted:
    """A route reflector accepted a claim; both times are by its clock."""

    observed_at: datetime
    expires_at: datetime | None

    @property
    def life(self) -> timedelta | None:
        """Return how long the claim holds from now, by no clock but the reflector's."""
        return self.expires_at - self.observed_at if self.expires_at is not None else None


@attrs.frozen(kw_only=True)
class Fetched:
    """The reflectors of a set; the digest is empty when the reflector's program is older."""

    reflectors: tuple[Reflector, ...]
    claim_digest: str


def client_tls(spec: ClientTLSSpec | None) -> ssl.SSLContext:
    """Return the client's TLS; `ControlError` names the file that cannot be used."""
    try:
        context = ssl.create_default_context(
            cafile=str(spec.ca_file) if spec is not None and spec.ca_file is not None else None
        )
        if spec is not None and spec.cert_file is not None:
            context.load_cert_chain(spec.cert_file, spec.key_file)
    except OSError as error:
        files = [spec.ca_file, spec.cert_file, spec.key_file] if spec is not None else []
        named = ", ".join(str(file) for file in files if file is not None)
        raise ControlError(f"TLS files {named} of controlAPITLS cannot be used: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if spec is not None and spec.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class NotDecided(TransientError):
    """A route reflector could not decide; `reason` is its code, or empty when it gave none."""

    def __init__(self, message: str, *, reason: str, retry_after: timedelta | None = None) -> None:
        self.reason = reason
        super().__init__(message, retry_after=retry_after)


class EnrollClient:
    """Sends requests to route reflectors. It keeps nothing open between two of them."""

    def __init__(
        self,
        *,
        clock: Clock,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
        deadline: float = DEADLINE,
    ) -> None:
        self._clock = clock
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._tls = tls
        self._server_name = server_name
        self._deadline = deadline

    async def challenge(self, target: str, claim: Claim, method: str) -> str:
        """Fetch a challenge for the proof of a claim by a join method.

        Raises `ClaimRejected` when the reflector refuses it, else another `ProviderError`.
        """
        body: dict[str, JSONValue] = {
            "apiVersion": API_VERSION,
            "kind": "SAMEnrollmentChallengeRequest",
            "policyRef": claim.policy_ref,
            "leafID": claim.leaf_id,
            "publicKey": claim.public_key,
        }
        try:
            answer = await self._ask("POST", target, "/sam-enrollment-challenges", body=body)
        except _NotServed as error:
            raise PermanentError(
                f"{target}: issues no challenge for joinMethod {method}; its program is an earlier one; "
                f"use joinMethod: {DEFAULT_JOIN_METHOD} towards it"
            ) from error
        given, asked = answer.get("challenge"), answer.get("method")
        if not isinstance(given, str) or not CHALLENGE.fullmatch(given):
            raise PermanentError(f"{target}: unexpected answer to the question for a challenge")
        if asked != method:
            raise ClaimRejected(
                f"{target}: its policy asks for joinMethod {_shown(asked)}, and this leaf has {method}",
                reason="join-method-mismatch",
            )
        return given

    async def submit(self, target: str, claim: Claim, proof: PresentedProof | None = None) -> ClaimAccepted:
        """Submit a claim, once; `proof` is that of a join method beside the claim.

        Raises `ClaimRejected` when the reflector refuses it, else another `ProviderError`.
        """
        body: dict[str, JSONValue] = {
            "apiVersion": API_VERSION,
            "kind": "SAMEnrollmentClaimSubmitRequest",
            "claim": claim_to_document(claim),
        }
        if proof is not None:
            # Beside the claim, and only then: earlier programs get the bytes that they always got.
            body["proof"] = {
                "method": proof.method,
                **({"challenge": proof.challenge} if proof.challenge else {}),
                "value": dict(proof.proof.document),
            }
        answer = await self._ask("POST", target, "/sam-enrollment-claims", body=body)
        if answer.get("kind") != "SAMEnrollmentClaimSubmitResult" or answer.get("accepted") is not True:
            raise PermanentError(f"{target}: unexpected answer to a claim: {_shown(answer.get('kind'))}")
        observed, expires = answer.get("observedAt"), answer.get("expiresAt")
        try:
            return ClaimAccepted(
                observed_at=_time(observed), expires_at=_time(expires) if expires is not None else None
            )
        except ValueError as error:
            raise PermanentError(f"{target}: the answer has a wrong time: {error}") from error

    async def fetch(self, target: str, rr_set: str, *, claim: Claim, digest: str) -> Fetched:
        """Fetch the reflectors of a set, in whichever dialect the server speaks.

        Raises `ClaimRejected` when the reflector knows no such claim, else another `ProviderError`.
        """
        name = Ref.parse(rr_set).name
        query = {"claim": claim.ref, "claimDigest": digest}
        try:
            answer = await self._get(target, f"/sam-enrollment-topologies/{quote(name, safe='')}", query)
        except _NotServed:
            del query["claimDigest"]
            answer = await self._get(target, f"/sam-rrsets/{quote(name, safe='')}", query)
        try:
            found = reflectors(answer.get("rrSet"))
        except ValueError as error:
            raise PermanentError(f"{target}: SAMRRSet/{name} is not valid: {error}") from error
        given = answer.get("claimDigest")
        return Fetched(reflectors=found, claim_digest=given if isinstance(given, str) else "")

    async def revoke(self, target: str, name: str, reason: str) -> Revoked:
        """End the claim of that name at a route reflector.

        Raises `ClaimRejected` when it knows no such claim, else another `ProviderError`.
        """
        answer = await self._ask(
            "POST",
            target,
            f"/sam-enrollment-claims/{quote(name, safe='')}/revoke",
            body={"name": name, "reason": reason},
        )
        if answer.get("kind") != "SAMEnrollmentClaimRevokeResult" or answer.get("revoked") is not True:
            raise PermanentError(f"{target}: unexpected answer to a revocation: {_shown(answer.get('kind'))}")
        given = answer.get("reason")
        try:
            observed = _time(answer.get("observedAt"))
        except ValueError as error:
            raise PermanentError(f"{target}: the answer has a wrong time: {error}") from error
        return Revoked(
            claim_ref=f"SAMEnrollmentClaim/{name}",
            observed_at=observed,
            reason=_shown(given) if isinstance(given, str) else reason,
        )

    async def _get(self, target: str, path: str, query: Mapping[str, str]) -> Mapping[str, JSONValue]:
        tries = TRIES_SOCKET if target.startswith("unix:") else TRIES
        while True:
            tries -= 1
            try:
                return await self._ask("GET", target, path, query=query)
            except _NobodyThere:
                if not tries:
                    raise
            await self._clock.sleep(RETRY_PAUSE)

    async def _ask(
        self,
        method: Literal["GET", "POST"],
        target: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: JSONValue = None,
    ) -> Mapping[str, JSONValue]:
        socket = target.removeprefix("unix:") if target.startswith("unix:") else ""
        base = "http://routerd" if socket else target.rstrip("/")
        connector: aiohttp.BaseConnector = (
            aiohttp.UnixConnector(path=socket)
            if socket
            else aiohttp.TCPConnector(ssl=self._tls if self._tls is not None else True, force_close=True)
        )
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector,
                    timeout=aiohttp.ClientTimeout(total=self._deadline),
                    headers={**self._headers, "Accept-Encoding": "identity"},
                ) as session,
                session.request(
                    method,
                    f"{base}{PREFIX}{path}",
                    params=query,
                    json=body,
                    # A redirect could carry the claim and the token to a stranger.
                    allow_redirects=False,
                    server_hostname=self._server_name if target.startswith("https:") else None,
                ) as response,
            ):
                limit = MAX_ANSWER if response.status == 200 else MAX_ERROR
                content = await _limited(response, limit, target)
                status, headers = response.status, response.headers
        except TimeoutError as error:
            raise TransientError(f"{target}: no answer within {self._deadline:g} s") from error
        except (aiohttp.InvalidURL, aiohttp.ClientConnectorCertificateError) as error:
            raise PermanentError(f"{target}: {error}") from error
        except aiohttp.ClientOSError as error:
            kind = _NobodyThere if error.errno in _NOBODY_THERE else TransientError
            raise kind(f"{target}: {error.strerror or error}") from error
        except aiohttp.ClientError as error:
            raise TransientError(f"{target}: {str(error) or type(error).__name__}") from error
        if status != 200:
            raise _failure(target, status, headers, content)
        return _object(target, content)


class _NobodyThere(TransientError):
    """Nothing listens at the target now; a server that restarts looks like this."""


class _NotServed(PermanentError):
    """The server does not have the path; its program is older or newer."""


async def _limited(response: aiohttp.ClientResponse, limit: int, target: str) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_chunked(65536):
        content += chunk
        if len(content) > limit:
            raise PermanentError(f"{target}: the answer is larger than {limit} bytes")
    return bytes(content)


def _failure(target: str, status: int, headers: Mapping[str, str], content: bytes) -> ProviderError:
    message, reason = _error_of(content)
    text = f"{target}: {message or f'HTTP status {status}'}"
    if status in _OLDER_SERVER:
        return _NotServed(text)
    if status in (408, 429) or status >= 500:
        after = headers.get("Retry-After", "")
        wait = (
            timedelta(seconds=int(after)) if after.isascii() and after.isdigit() and len(after) < 6 else None
        )
        return NotDecided(text, reason=reason, retry_after=wait)
    if status == 400:
        return ClaimRejected(text, reason=reason)
    return PermanentError(text)


def _error_of(content: bytes) -> tuple[str, str]:
    """Return the message and the reason of an error's body, which older servers send as plain text."""
    try:
        error = json.loads(content).get("error", {})
        message, reason = error.get("message", ""), error.get("reason", "")
    except (ValueError, AttributeError, RecursionError):
        return _shown(content.decode(errors="replace").strip()), ""
    return _shown(message), reason if isinstance(reason, str) else ""


def _shown(value: object) -> str:
    """Return what a server said as at most 400 printable characters of one line."""
    return "".join(c if c.isprintable() else " " for c in str(value)[:400])


def _object(target: str, content: bytes) -> Mapping[str, JSONValue]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise PermanentError(f"{target}: the answer is not JSON; is it a route reflector?") from error
    if not isinstance(found, dict):
        raise PermanentError(f"{target}: the answer is not a JSON object; is it a route reflector?")
    return cast("Mapping[str, JSONValue]", found)


def _time(value: JSONValue) -> datetime:
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)} is not text")  # noqa: TRY004 - one error type for bad input
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError(f"{_shown(value)} lacks a time zone")
    return moment
