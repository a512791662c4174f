"""The SDK's descriptions of AWS's services, in a third of the memory."""

import gzip
import json
from pathlib import Path
from typing import Any


class LeanFiles:
    """Reads the files of service models without their documentation; a `file_loader` of botocore.

    The model of EC2 describes 700 calls in 5 MB of JSON. botocore keeps it as ordered dictionaries with
    every text that its manual is made from, 12 MB more than a client needs.
    """

    def exists(self, file_path: str) -> bool:
        """Say whether there is a file of that path, which has no suffix yet."""
        return any(Path(file_path + suffix).is_file() for suffix in (".json", ".json.gz"))

    def load_file(self, file_path: str) -> dict[str, Any] | None:
        """Return the content of the file, none when there is no such file."""
        plain, packed = Path(f"{file_path}.json"), Path(f"{file_path}.json.gz")
        if plain.is_file():
            content = plain.read_bytes()
        elif packed.is_file():
            content = gzip.decompress(packed.read_bytes())
        else:
            return None
        found: dict[str, Any] = json.loads(content, object_pairs_hook=_without_manual)
        return found


def _without_manual(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # A member may have the name too, and is then a mapping.
    return {key: value for key, value in pairs if key != "documentation" or not isinstance(value, str)}
