"""What we would announce, in a file: the program that keeps the routes may read it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path

from routerd.errors import ProviderError, TransientError
from routerd.model.change import Change
from routerd.model.session import Advertisement, Prefix

Content = dict[Prefix, Advertisement]


class Announced:
    """The table of advertisements, as a JSON file that is replaced in one step. Implements `spi.Table`."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def observe(self) -> Mapping[Prefix, Advertisement]:
        """Return what stands in the file; nothing before it was first written."""
        try:
            stored = json.loads(self._file.read_text(encoding="utf-8")) if self._file.exists() else {}
            return {ip_network(prefix): _advertisement(facts) for prefix, facts in stored.items()}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TransientError(f"{self._file}: cannot be read: {error}; remove it") from error

    async def apply(self, changes: Sequence[Change[Prefix, Advertisement]]) -> Mapping[Prefix, ProviderError]:
        """Replace the file by one that has the changes."""
        if not changes:
            return {}
        content: Content = dict(await self.observe())
        for change in changes:
            content.pop(change.key, None)
            if change.after is not None:
                content[change.key] = change.after
        new = self._file.with_suffix(".new")
        try:
            new.write_text(json.dumps({str(key): _facts(each) for key, each in content.items()}, indent=1))
            new.replace(self._file)
        except OSError as error:
            return {change.key: TransientError(f"{self._file}: {error.strerror}") for change in changes}
        return {}


def _facts(value: Advertisement) -> dict[str, object]:
    return {
        "owner": value.owner,
        "nextHop": str(value.next_hop) if value.next_hop is not None else None,
        "communities": sorted(value.communities),
        "localPreference": value.local_preference,
        "med": value.med,
    }


def _advertisement(facts: Mapping[str, object]) -> Advertisement:
    hop, communities = facts["nextHop"], facts["communities"]
    preference, med = facts["localPreference"], facts["med"]
    return Advertisement(
        owner=str(facts["owner"]),
        next_hop=ip_address(str(hop)) if hop is not None else None,
        communities=frozenset(map(str, communities)) if isinstance(communities, list) else frozenset(),
        local_preference=preference if isinstance(preference, int) else None,
        med=med if isinstance(med, int) else None,
    )
