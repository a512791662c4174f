"""The description of the enrollment listener: its routes, their shapes, every refusal.

The paths and shapes are those of existing SAM programs.
"""

from routerd.control.ports import API_VERSION
from routerd.control.shapes import JSON_TYPE, TEXT_TYPE, Refusal, Route, Schema, Shape, Text
from routerd.errors import JoinMethodFailed

MAX_BODY = 1 << 20

_TEXT: Schema = {"type": "string"}
_TIME: Schema = {"type": "string", "format": "date-time"}
_OBJECT: Schema = {"type": "object"}
_LINE: Schema = {"type": "string", "pattern": r"^[^\x00-\x1f\x7f]*$"}
_CODE: Schema = {"type": "string", "pattern": "^[a-z][a-z0-9-]*$"}

NAME = Text(
    name="name",
    where="path",
    pattern=r"[A-Za-z0-9_][A-Za-z0-9._:@+-]{0,252}",
    what="metadata.name of the resource.",
)


def _shape(kind: str, *optional: str, **fields: Schema) -> Shape:
    head: dict[str, Schema] = {"apiVersion": {"const": API_VERSION}, "kind": {"const": kind}}
    return Shape(name=kind, fields=head | fields, optional=frozenset(optional))


ERROR = _shape(
    "Error",
    error={
        "type": "object",
        "required": ["message", "reason"],
        "properties": {"message": dict(_TEXT), "reason": dict(_CODE)},
    },
)

REQUEST_INVALID = Refusal(
    status=400,
    reason="request-invalid",
    what="The request does not match this description.",
)
DECIDED = Refusal(
    status=400,
    what="The route reflector refused; the code is stable, the message is for people.",
)
MALFORMED = Refusal(status=400, media=(TEXT_TYPE,), what="The request is not HTTP, or has too many headers.")
NO_TOKEN = Refusal(
    status=401,
    reason="bearer-token-required",
    what="The bearer token is missing or wrong.",
    headers={"WWW-Authenticate": "The scheme, Bearer."},
)
STRANGER = Refusal(
    status=403, media=(TEXT_TYPE,), what="The address that the request came from is not in allowCIDRs."
)
NOT_KNOWN = Refusal(
    status=403,
    reason="revoke-not-authenticated",
    what="Revoking needs tokenFrom or tls.clientCAFile of ControlAPI; the listener has neither.",
)
NOT_FOUND = Refusal(status=404, reason="not-found", what="There is no such path.")
WRONG_METHOD = Refusal(
    status=405,
    reason="method-not-allowed",
    what="The path does not have this method.",
    headers={"Allow": "The methods of the path."},
)
TOO_SLOW = Refusal(status=408, reason="request-timeout", what="The body did not arrive in time.")
TOO_LARGE = Refusal(status=413, reason="request-too-large", what=f"The body is larger than {MAX_BODY} bytes.")
WRONG_TYPE = Refusal(
    status=415, reason="media-type-unsupported", what=f"The body is not {JSON_TYPE}, or it is compressed."
)
METHOD_FAILED = Refusal(
    status=503,
    reason=JoinMethodFailed.reason,
    what="The join method of the policy did not answer, so nothing was decided.",
)
TOO_OFTEN = Refusal(
    status=429,
    reason="rate-limited",
    what="The source, or all sources together, sent too many requests.",
    headers={"Retry-After": "Seconds after which to try again."},
)
INTERNAL = Refusal(
    status=500,
    reason="internal",
    media=(JSON_TYPE, TEXT_TYPE),
    what="Nothing was decided; read the log of the route reflector.",
)

_ALWAYS = (
    REQUEST_INVALID, MALFORMED, NO_TOKEN, STRANGER, NOT_FOUND, WRONG_METHOD, TOO_OFTEN, INTERNAL
)  # fmt: skip
_WITH_BODY = (*_ALWAYS, TOO_SLOW, TOO_LARGE, WRONG_TYPE)

_METHOD: Schema = {"type": "string", "pattern": r"^[!-~]{1,64}$"}
_CHALLENGE: Schema = {"type": "string", "pattern": r"^[!-~]{1,512}$"}
_SHORT: Schema = {"type": "string", "pattern": r"^[!-~]{1,300}$"}

PROOF_SHAPE = Shape(
    name="JoinProof",
    fields={"method": _METHOD, "challenge": _CHALLENGE, "value": _OBJECT},
    optional=frozenset({"challenge"}),
)
"""A proof beside a claim: the join method, the challenge that it answers, and what the method made."""

PROOF_TOO_LARGE = "join-proof-too-large"

CHALLENGE = Route(
    name="getChallenge",
    method="POST",
    path="/sam-enrollment-challenges",
    what="Fetch a challenge for the proof of a leaf, where the join method of the policy asks for one.",
    body=_shape(
        "SAMEnrollmentChallengeRequest", "publicKey", policyRef=_SHORT, leafID=_SHORT, publicKey=_TEXT
    ),
    answer=_shape("SAMEnrollmentChallengeResult", method=_TEXT, challenge=_TEXT, expiresAt=_TIME),
    refusals=(*_WITH_BODY, DECIDED, METHOD_FAILED),
)

SUBMIT = Route(
    name="submitClaim",
    method="POST",
    path="/sam-enrollment-claims",
    what="Submit a claim; it is on the route reflector's disk when this is answered.",
    body=_shape("SAMEnrollmentClaimSubmitRequest", "proof", claim=_OBJECT, proof=_OBJECT),
    answer=_shape(
        "SAMEnrollmentClaimSubmitResult",
        accepted={"const": True},
        claimRef=_TEXT,
        dynamicSource=_TEXT,
        generation={"type": "integer"},
        observedAt=_TIME,
        expiresAt={"type": ["string", "null"], "format": "date-time"},
    ),
    refusals=(*_WITH_BODY, DECIDED, METHOD_FAILED),
)

_CLAIM = Text(
    name="claim",
    where="query",
    pattern="[!-~]{1,300}",
    what="The claim that was admitted, SAMEnrollmentClaim/<name> or its name alone.",
)
_DIGEST = Text(
    name="claimDigest",
    where="query",
    pattern="[!-~]{0,128}",
    required=False,
    what="The digest of the claim as the leaf computed it.",
)

RR_SET = Route(
    name="getRRSet",
    method="GET",
    path="/sam-rrsets/{name}",
    what="Fetch the set of route reflectors for an admitted claim, in the earlier form.",
    texts=(NAME, _CLAIM, _DIGEST),
    answer=_shape("SAMRRSetGetResult", metadata=_OBJECT, rrSet=_OBJECT),
    refusals=(*_ALWAYS, DECIDED),
)

TOPOLOGY = Route(
    name="getTopology",
    method="GET",
    path="/sam-enrollment-topologies/{name}",
    what="Fetch the set of route reflectors for an admitted claim, and the digest of that claim.",
    texts=(NAME, _CLAIM, _DIGEST),
    answer=_shape("SAMEnrollmentTopologyGetResult", metadata=_OBJECT, claimDigest=_TEXT, rrSet=_OBJECT),
    refusals=(*_ALWAYS, DECIDED),
)

REVOKE = Route(
    name="revokeClaim",
    method="POST",
    path="/sam-enrollment-claims/{name}/revoke",
    what="End a claim for good.",
    texts=(NAME,),
    body=Shape(
        name="SAMEnrollmentClaimRevokeRequest",
        fields={"name": _TEXT, "reason": _LINE},
        optional=frozenset({"name", "reason"}),
    ),
    answer=_shape(
        "SAMEnrollmentClaimRevokeResult",
        revoked={"const": True},
        claimRef=_TEXT,
        dynamicSource=_TEXT,
        generation={"type": "integer"},
        observedAt=_TIME,
        expiresAt=_TIME,
        reason=_TEXT,
    ),
    known=True,
    refusals=(*_WITH_BODY, NOT_KNOWN, DECIDED),
)
