"""A transport and a route that do at each call what a file says, so that a test may change it.

The file `/run/misbehave.json` has a word for each call: `{"observe": "hangs"}`. Other calls are well. The
variable `MISBEHAVE_CALLS` has the same for one process. Importing and describing misbehave by the
environment, because they come before everything else.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import attrs

import routerd
from routerd.errors import ProviderError
from routerd.model.change import Change
from routerd.model.names import LinkName
from routerd.model.route import RouteSet
from routerd.model.session import SessionState
from routerd.model.tunnel import Opening, Tunnel, TunnelState
from routerd.spi import ControlRoute, JSONValue, PluginContext, PluginInfo, Provider, TransportMode
from routerd.testing.fakes import FakeFabric, FakeWorld

FILE = Path("/run/misbehave.json")

EARLY = os.environ.get("MISBEHAVE", "")
"""`import`, `info`, `hook` or `create`: where to leave the process; or `routing`, to speak a protocol.

With `hangs-import` or `hangs-hook` the plugin does not return from there; with `thread` it begins one that
does not end.
"""

if EARLY == "import":
    sys.exit(0)
if EARLY == "hangs-import":
    time.sleep(1e6)
if EARLY == "thread":
    threading.Thread(target=time.sleep, args=[1e6], name="early thread").start()


def word(call: str) -> str:
    """Return what a call is to do."""
    try:
        said = os.environ.get("MISBEHAVE_CALLS") or FILE.read_text()
        return str(json.loads(said).get(call, ""))
    except FileNotFoundError:
        return ""


async def misbehave(call: str) -> Any:
    """Do what the file says of a call, and return nothing where that is nothing."""
    match word(call):
        case "exits":
            sys.exit(9)
        case "cancels":
            raise asyncio.CancelledError
        case "raises":
            raise ZeroDivisionError("one by none")
        case "hangs":
            await asyncio.Event().wait()
        case "deaf":
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    continue
        case "blocks":
            time.sleep(3)  # noqa: ASYNC251 - that is how it misbehaves
        case "lies":
            return 42
    return None


_NUMBERS = count()


class Table:
    """A table of nothing, or of keys that nobody asked for."""

    def __init__(self) -> None:
        self.deleted = 0

    async def observe(self) -> Mapping[LinkName, Any]:
        """Return nothing, or what the file says."""
        lie = await misbehave("observe")
        if lie is not None:
            return lie  # type: ignore[no-any-return]  # that is how it lies
        if word("observe") == "invents":
            return {LinkName(f"odd{next(_NUMBERS)}"): 1}
        return {}

    async def apply(self, changes: Sequence[Change[LinkName, Any]]) -> Mapping[LinkName, ProviderError]:
        """Do nothing, or what the file says."""
        await misbehave("apply")
        self.deleted += sum(change.verb == "delete" for change in changes)
        return {}


@attrs.frozen(kw_only=True)
class Options:
    """A word that `GET /word` returns."""

    word: str = "none"


class Odd:
    """The transport."""

    def __init__(self, context: PluginContext, options: Options) -> None:
        self._context = context
        self.options = options
        self._table = Table()
        ODD.append(self)

    async def start(self) -> None:
        """Start, or do what the file says, in itself and in tasks and threads."""
        await misbehave("start")
        if word("task"):
            self._context.spawn("odd", self._task())
        if word("own"):
            asyncio.get_running_loop().call_later(0.1, lambda: OWN.append(asyncio.ensure_future(self._own())))
        if word("thread"):
            threading.Thread(target=time.sleep, args=[1e6], name="odd thread").start()
        if word("log"):
            for number in range(100_000):
                self._context.log.warning("flood", number=number)

    async def _task(self) -> None:
        await misbehave("task")

    async def _own(self) -> None:
        await misbehave("own")

    async def aclose(self) -> None:
        """Close, or do what the file says."""
        await misbehave("aclose")

    @property
    def tunnels(self) -> Table:
        """Return the table."""
        return self._table

    def overhead(self, tunnel: Tunnel) -> int:
        """Return a number."""
        return 20

    def openings(self, tunnel: Tunnel) -> Sequence[Opening]:
        """Return nothing."""
        return ()

    async def states(self) -> Sequence[TunnelState]:
        """Return nothing, or what the file says."""
        lie = await misbehave("states")
        return lie if lie is not None else []  # type: ignore[no-any-return]  # that is how it lies


ODD: list[Odd] = []
OWN: list[asyncio.Future[None]] = []


async def route(request: Mapping[str, JSONValue]) -> JSONValue:
    """Answer, or do what the file says."""
    lie = await misbehave("route")
    if lie is not None:
        return {1, 2}  # type: ignore[return-value]  # that is how it lies
    return {
        "word": ODD[-1].options.word,
        "deleted": sum(each.tunnels.deleted for each in ODD),
        "made": len(ODD),
    }


def create(context: PluginContext, options: Options) -> Any:
    """Make the transport, or leave the process."""
    if EARLY == "create":
        sys.exit(0)
    return Odd(context, options)


@routerd.hookimpl
def routerd_plugin_info() -> PluginInfo:
    """Say who the plugin is."""
    if EARLY == "info":
        sys.exit(0)
    return PluginInfo(name="misbehaving", api=(1, 0), summary="breaks its contract", config=Options)


@routerd.hookimpl
def routerd_transports() -> Sequence[TransportMode]:
    """Describe the transport."""
    if EARLY == "hook":
        sys.exit(0)
    if EARLY == "hangs-hook":
        time.sleep(1e6)
    return [TransportMode(kind="odd", create=create, options=Options)]


class Cloud(FakeFabric):
    """A cloud of the kit that starts, answers and closes as the file says."""

    async def start(self) -> None:
        """Start, or do what the file says."""
        await misbehave("cloud")

    async def aclose(self) -> None:
        """Close, or do what the file says."""
        await misbehave("aclose")


@routerd.hookimpl
def routerd_fabrics() -> Sequence[Provider[Any]]:
    """Describe the cloud."""
    return [Provider(kind="odd", create=lambda context, options: Cloud(FakeWorld()))]


class Speaker:
    """A routing protocol without neighbours, for what a reload may not replace."""

    preference = 150

    def __init__(self, context: PluginContext, options: Options) -> None:
        self.speakers = self.import_policies = self.sessions = self.advertisements = Table()

    async def start(self) -> None:
        """Start."""

    async def aclose(self) -> None:
        """Close."""

    async def learned(self) -> AsyncIterator[RouteSet]:
        """Yield no routes, or what the file says."""
        while True:
            lie = await misbehave("learned")
            yield RouteSet(complete=True) if lie is None else lie
            await asyncio.sleep(0.2)

    async def states(self) -> Sequence[SessionState]:
        """Return nothing."""
        return ()


@routerd.hookimpl
def routerd_routings() -> Sequence[Provider[Any]]:
    """Describe the routing protocol, in the scenarios that ask for it."""
    return [Provider(kind="oddities", create=Speaker, options=Options)] if EARLY == "routing" else []


@routerd.hookimpl
def routerd_control_routes() -> Sequence[ControlRoute]:
    """Describe the route."""
    return [ControlRoute(method="GET", path="/word", handler=route)]
