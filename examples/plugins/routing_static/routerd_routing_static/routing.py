"""The provider: it reads the file again and again, and hands on what is new."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from ipaddress import ip_address, ip_network

from routerd.model.addresses import IPNetwork
from routerd.model.route import LearnedRoute, RouteSet
from routerd.model.session import SessionState
from routerd.spi import PluginContext
from routerd_routing_static.announced import Announced
from routerd_routing_static.config import StaticOptions

INTERVAL = 1.0
"""Seconds between two readings of the file."""


class StaticRouting:
    """Implements `spi.Routing`."""

    preference = 1

    def __init__(self, context: PluginContext, options: StaticOptions) -> None:
        self._context = context
        self._file = options.file
        self._closing = asyncio.Event()
        self.advertisements = Announced(context.run_dir / "announced.json")

    async def start(self) -> None:
        """Do nothing: a file that is missing has no routes yet."""

    async def aclose(self) -> None:
        """End the streams."""
        self._closing.set()

    async def learned(self) -> AsyncIterator[RouteSet]:
        """Yield the routes of the file, and again when they are others."""
        last: RouteSet | None = None
        fault = ""
        while not self._closing.is_set():
            try:
                text = self._file.read_text(encoding="utf-8") if self._file.exists() else ""
                found = RouteSet(routes=tuple(_routes(text)), complete=True)
                fault = ""
            except (OSError, ValueError) as error:
                # What was good stays: a slip of the hand takes no route away.
                if str(error) != fault:
                    fault = str(error)
                    self._context.log.warning("routes.unreadable", file=str(self._file), error=fault)
                found = last or RouteSet()
            if found != last:
                last = found
                yield found
            # It waits by the daemon's clock, and ends with the provider.
            waiting = asyncio.ensure_future(self._context.clock.sleep(INTERVAL))
            closing = asyncio.ensure_future(self._closing.wait())
            try:
                await asyncio.wait({waiting, closing}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
                closing.cancel()

    async def states(self) -> Sequence[SessionState]:
        """Return nothing: a file has no sessions."""
        return ()


def _routes(text: str) -> Iterator[LearnedRoute]:
    seen: set[IPNetwork] = set()
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 3 or words[1] != "via":
            raise ValueError(f"line {number}: write PREFIX via NEXTHOP, found {line.strip()!r}")
        try:
            prefix, hop = ip_network(words[0]), ip_address(words[2])
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        if prefix in seen:
            raise ValueError(f"line {number}: {prefix} has a route already; remove one of them")
        seen.add(prefix)
        yield LearnedRoute(prefix=prefix, next_hop=hop, neighbour=hop)
