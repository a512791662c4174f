"""What NOTIFICATIONs say, in words: RFC 4271 section 4.5, RFC 4486 section 3, RFC 6608, RFC 7313."""

SHUTDOWN = (6, 2)
DECONFIGURED = (6, 3)
RESET = (6, 4)
REJECTED = (6, 5)
RECONFIGURED = (6, 6)
COLLISION = (6, 7)
"""Cease, by why (RFC 4486 section 3)."""

_ERRORS = {
    (1, 0): "message header error",
    (1, 1): "connection not synchronized",
    (1, 2): "bad message length",
    (1, 3): "bad message type",
    (2, 0): "malformed OPEN",
    (2, 1): "unsupported version number",
    (2, 2): "bad peer AS",
    (2, 3): "bad BGP identifier",
    (2, 4): "unsupported optional parameter",
    (2, 6): "unacceptable hold time",
    (3, 0): "malformed UPDATE",
    (3, 1): "malformed attribute list",
    (3, 2): "unrecognized well-known attribute",
    (3, 9): "optional attribute error",
    (3, 10): "invalid network field",
    (4, 0): "hold timer expired",
    (5, 0): "finite state machine error",
    (5, 2): "unexpected message in OpenConfirm state",
    (6, 0): "cease",
    (6, 1): "maximum number of prefixes reached",
    (6, 2): "administrative shutdown",
    (6, 3): "peer de-configured",
    (6, 4): "administrative reset",
    (6, 5): "connection rejected",
    (6, 6): "other configuration change",
    (6, 7): "connection collision",
    (7, 1): "invalid ROUTE-REFRESH length",
}


def error_text(code: int, subcode: int) -> str:
    """Return what a NOTIFICATION says."""
    text = _ERRORS.get((code, subcode)) or _ERRORS.get((code, 0), "error")
    return f"{text} ({code}/{subcode})"
