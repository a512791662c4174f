"""X25519: every public key is the one that a library computes."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import example, given
from hypothesis import strategies as st

from routerd_transport_wireguard.x25519 import new_private_key, public_key


@given(st.binary(min_size=32, max_size=32))
@example(b"\0" * 32)
@example(b"\xff" * 32)
@example(b"\x07" + b"\0" * 30 + b"\x80")
def test_the_public_key_is_the_one_of_the_library(key: bytes) -> None:
    expected = X25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw()
    assert public_key(key) == expected


def test_new_keys_are_clamped_and_differ() -> None:
    keys = {new_private_key() for _ in range(50)}
    assert len(keys) == 50
    assert all(key[0] & 7 == 0 and key[31] & 0b11000000 == 0b01000000 for key in keys)
