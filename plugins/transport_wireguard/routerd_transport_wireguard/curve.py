"""Asks the library for a public or a new private key: `python -m` this module, a process of its own.

The library would cost each daemon 9 MB of memory, and a daemon needs it for its few own keys alone. The
private key goes by the standard input, and no argument or file has it. A process that has the library
already, for TLS or an SDK, asks it directly.
"""

import subprocess
import sys
from functools import lru_cache

from routerd.errors import TransientError

KEY_BYTES = 32
_DEADLINE = 30.0


def new_private_key() -> bytes:
    """Return the 32 bytes of a new key; blocks. Raises `TransientError`."""
    return _ask(b"")


# Every reading of a device compares its key; the keys of a host are few.
@lru_cache(maxsize=64)
def public_key(private_key: bytes) -> bytes:
    """Return the 32 bytes of the public key (RFC 7748); blocks once per key. Raises `TransientError`."""
    return _ask(private_key)


def _ask(private_key: bytes) -> bytes:
    if "cryptography" in sys.modules:
        return _answer(private_key)
    command = [sys.executable, "-m", __name__]
    try:
        done = subprocess.run(command, input=private_key, capture_output=True, check=False, timeout=_DEADLINE)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TransientError(f"the process that computes keys: {error}") from error
    if done.returncode or len(done.stdout) != KEY_BYTES:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or [f"exit {done.returncode}"])[-1]
        raise TransientError(f"the process that computes keys: {last}")
    return done.stdout


def _answer(private_key: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey  # noqa: PLC0415 - see above

    if private_key:
        return X25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()
    return X25519PrivateKey.generate().private_bytes_raw()


def main() -> None:
    """Answer one question: the public key of what comes in, or a new private key when nothing does."""
    sys.stdout.buffer.write(_answer(sys.stdin.buffer.read()))


if __name__ == "__main__":
    main()
