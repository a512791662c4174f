"""The fabric: reads the file for every question, and replaces it whole for every change."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TypedDict

from routerd.errors import NotOwnedError, PermanentError, ProviderError, TransientError
from routerd.model.change import Change
from routerd.model.fabric import (
    FabricRoute,
    FabricRouteKey,
    Forwarding,
    InstanceFacts,
    Nic,
    NicRef,
    RouteTableRef,
)
from routerd_fabric_static.config import StaticOptions


class NicEntry(TypedDict):
    """A NIC in the file."""

    address: str
    forwarding: bool


class Content(TypedDict):
    """The whole file: NICs by name; in each table the next hop by prefix."""

    nics: dict[str, NicEntry]
    tables: dict[str, dict[str, str]]


class RouteFile:
    """The file. Its two methods block, so they are called in a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Content:
        """Return the content; raises `TransientError` if it is missing or unusable."""
        try:
            content: Content = json.loads(self._path.read_text())
            return Content(nics=content["nics"], tables=content["tables"])
        except OSError as exc:
            raise TransientError(f"route file {self._path}: {exc.strerror}; create it") from exc
        except (ValueError, KeyError, TypeError) as exc:
            raise TransientError(f"route file {self._path}: not the expected JSON: {exc!r}") from exc

    def change(self, edit: Callable[[Content], None]) -> None:
        """Read, edit and replace the file, with a lock; raises `TransientError` if that fails."""
        try:
            with self._locked():
                content = self.read()
                edit(content)
                draft = self._path.with_name(self._path.name + ".new")
                draft.write_text(json.dumps(content, indent=2) + "\n")
                # A rename is atomic: a reader sees the old file or the new one.
                draft.replace(self._path)
        except OSError as exc:
            raise TransientError(f"route file {self._path}: {exc.strerror}; check its folder") from exc

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._path.with_name(self._path.name + ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class ForwardingTable:
    """The forwarding switch of each NIC in the file. Implements `routerd.spi.Table`."""

    def __init__(self, file: RouteFile) -> None:
        self._file = file

    async def observe(self) -> Mapping[NicRef, Forwarding]:
        """Return every switch."""
        content = await asyncio.to_thread(self._file.read)
        return {
            NicRef(name): Forwarding(enabled=entry["forwarding"]) for name, entry in content["nics"].items()
        }

    async def apply(self, changes: Sequence[Change[NicRef, Forwarding]]) -> Mapping[NicRef, ProviderError]:
        """Set the switches of the NICs that exist."""
        failures: dict[NicRef, ProviderError] = {}

        def edit(content: Content) -> None:
            for change in changes:
                entry = content["nics"].get(change.key)
                if entry is None:
                    failures[change.key] = PermanentError(f"NIC {change.key} is not in the route file")
                else:
                    entry["forwarding"] = change.desired.enabled

        await _finish(lambda: self._file.change(edit))
        return failures


class RouteTable:
    """The routes to our own next hop. Implements `routerd.spi.Table`."""

    def __init__(self, file: RouteFile, next_hop: str) -> None:
        self._file = file
        self._next_hop = next_hop

    async def observe(self) -> Mapping[FabricRouteKey, FabricRoute]:
        """Return our routes; a route to anything else is foreign and not shown."""
        content = await asyncio.to_thread(self._file.read)
        return {
            FabricRouteKey(table=RouteTableRef(table), prefix=ip_network(prefix)): FabricRoute(next_hop=hop)
            for table, routes in content["tables"].items()
            for prefix, hop in routes.items()
            if hop == self._next_hop
        }

    async def apply(
        self, changes: Sequence[Change[FabricRouteKey, FabricRoute]]
    ) -> Mapping[FabricRouteKey, ProviderError]:
        """Make each change that can be made and report the others by key."""
        failures: dict[FabricRouteKey, ProviderError] = {}

        def edit(content: Content) -> None:
            for change in changes:
                try:
                    self._make(content, change)
                except ProviderError as error:
                    failures[change.key] = error

        await _finish(lambda: self._file.change(edit))
        return failures

    def _make(self, content: Content, change: Change[FabricRouteKey, FabricRoute]) -> None:
        routes = content["tables"].get(change.key.table)
        prefix = str(change.key.prefix)
        if routes is None:
            raise PermanentError(f"route {prefix}: table {change.key.table} is not in the route file")
        present = routes.get(prefix, self._next_hop)
        if present != self._next_hop:
            raise NotOwnedError(f"route {prefix} in table {change.key.table} leads to {present}, not to us")
        if change.after is None:
            routes.pop(prefix, None)
        else:
            routes[prefix] = change.after.next_hop


class StaticFabric:
    """Implements `routerd.spi.Fabric`."""

    def __init__(self, plugin: str, options: StaticOptions) -> None:
        self._plugin = plugin
        self._options = options
        self._file = RouteFile(Path(options.file))
        self._forwarding = ForwardingTable(self._file)
        self._routes = RouteTable(self._file, options.next_hop)

    async def start(self) -> None:
        """Check that the file can be read; changes nothing."""
        await self.instance()

    async def aclose(self) -> None:
        """Do nothing: the routes stay."""

    async def instance(self) -> InstanceFacts:
        """Return our identity, from the file and the options."""
        content = await asyncio.to_thread(self._file.read)
        if self._options.next_hop not in content["nics"]:
            raise PermanentError(
                f"{self._plugin}: next hop {self._options.next_hop} is not a NIC of the route file"
            )
        nics = [
            Nic(
                ref=NicRef(name),
                address=ip_address(entry["address"]),
                primary=name == self._options.next_hop,
            )
            for name, entry in content["nics"].items()
        ]
        return InstanceFacts(
            provider="static",
            instance=self._options.next_hop,
            nics=tuple(nics),
            next_hop=self._options.next_hop,
            route_tables=tuple(RouteTableRef(table) for table in content["tables"]),
        )

    @property
    def forwarding(self) -> ForwardingTable:
        """Return the switches."""
        return self._forwarding

    @property
    def routes(self) -> RouteTable:
        """Return the routes."""
        return self._routes


async def _finish(work: Callable[[], None]) -> None:
    """Run `work` in a thread; when cancelled, wait for its end first: nothing may change behind us."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(task)
    finally:
        if not task.done():
            await asyncio.wait([task])
