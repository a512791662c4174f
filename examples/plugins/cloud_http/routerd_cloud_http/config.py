"""What a profile writes into `options`, there in camel case."""

from pathlib import Path
from urllib.parse import urlsplit

import attrs


@attrs.frozen(kw_only=True)
class HttpOptions:
    """Where the document is, which of its NICs is ours, and the file with the bearer token."""

    url: str
    next_hop: str
    token_file: Path | None = None

    def __attrs_post_init__(self) -> None:
        """Refuse what is not an address; routerd adds file and line."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url: {self.url} is not an http(s) address")
