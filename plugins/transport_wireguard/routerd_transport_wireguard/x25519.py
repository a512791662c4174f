"""The public key of a private one: X25519 of RFC 7748, section 5, on the base point.

In Python, because the library that has it costs each daemon 9 MB of memory for one multiplication
per key. Python's integers take a time that depends on their value; what measures it is a process of this
host during the few milliseconds after a start, and the far end of a tunnel sees none of it: the kernel or
wireguard-go makes every handshake.
"""

import secrets

_PRIME = 2**255 - 19
_A24 = 121665
_BASE = 9


def new_private_key() -> bytes:
    """Return 32 random bytes, clamped as `wg genkey` does."""
    key = bytearray(secrets.token_bytes(32))
    key[0] &= 248
    key[31] = (key[31] & 127) | 64
    return bytes(key)


def public_key(private_key: bytes) -> bytes:
    """Return the 32 bytes of the public key."""
    scalar = int.from_bytes(private_key, "little")
    scalar = (scalar & ~7 & (2**255 - 1)) | 2**254
    x2, z2, x3, z3, swapped = 1, 0, _BASE, 1, 0
    for position in reversed(range(255)):
        bit = scalar >> position & 1
        if swapped != bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swapped = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb = d * a % _PRIME, c * b % _PRIME
        aa, bb = a * a % _PRIME, b * b % _PRIME
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % _PRIME, _BASE * (da - cb) ** 2 % _PRIME
        x2, z2 = aa * bb % _PRIME, e * (aa + _A24 * e) % _PRIME
    if swapped:
        x2, z2 = x3, z3
    return (x2 * pow(z2, -1, _PRIME) % _PRIME).to_bytes(32, "little")
