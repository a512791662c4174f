"""A place for rules in the host's packet filter, and how a failed transaction finds its culprit."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from routerd.errors import PermanentError, ProviderError
from routerd.kernel.firewall.rules import describe
from routerd.model.firewall import FirewallKey

BARRIERS = frozenset({"DROP", "REJECT"})
"""Targets of iptables that end a packet's way."""

Failures = dict[FirewallKey, ProviderError]


class Place(Protocol):
    """A place for rules of ours: our own table, a foreign chain, or the tables of an iptables variant."""

    @property
    def present(self) -> Mapping[FirewallKey, int]:
        """Return how often this place holds each rule of ours."""

    def wants(self, key: FirewallKey) -> bool:
        """Say whether this place needs the rule."""

    @property
    def closed(self) -> tuple[str, ...]:
        """Name chains that drop by policy and take no rules of ours."""

    @property
    def unread(self) -> tuple[str, ...]:
        """Return foreign lines that routerd cannot read, each with its place."""

    @property
    def is_husk(self) -> bool:
        """Say whether this is ours and empty: another program took the rules away."""

    async def change(self, add: Sequence[FirewallKey], remove: Sequence[FirewallKey]) -> Failures:
        """Add and remove rules and return the failures by key."""


async def one_by_one(
    keys: Iterable[FirewallKey], make: Callable[[FirewallKey], str], send: Callable[[str], Any]
) -> Failures:  # Any: an awaitable whose result is the program's unused output
    """Send all scripts as one transaction; if it fails, send each by itself to find the culprit."""
    scripts = {key: make(key) for key in keys}
    if not scripts:
        return {}
    try:
        await send("".join(scripts.values()))
        return {}
    except PermanentError:
        failures: Failures = {}
        for key, script in scripts.items():
            try:
                await send(script)
            except ProviderError as error:
                failures[key] = type(error)(f"firewall rule {describe(key)}: {error}")
        return failures
    except ProviderError as error:
        return dict.fromkeys(scripts, error)
