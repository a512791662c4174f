"""What the two ends write into `joinOptions`, there in camel case."""

from collections.abc import Mapping
from pathlib import Path

import attrs

from routerd_join_ed25519.keys import public_key


@attrs.frozen(kw_only=True)
class PolicyKeys:
    """A policy: the public keys of each leaf by its `leafID`, as base64; each of them holds."""

    keys: Mapping[str, tuple[str, ...]]

    def __attrs_post_init__(self) -> None:
        """Refuse what is not a key; routerd adds file and line."""
        for leaf, texts in self.keys.items():
            if not texts:
                raise ValueError(f"keys of {leaf}: none; list one, or remove the leaf")
            for text in texts:
                try:
                    public_key(text)
                except ValueError as error:
                    raise ValueError(f"keys of {leaf}: {error}") from error


@attrs.frozen(kw_only=True)
class ClientKey:
    """A client: the file with the private key of this leaf, as PEM (PKCS #8), mode 0600."""

    private_key_file: Path
