"""The plugin keeps the contracts of a plugin and of a routing, and its own word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, ClassVar

import pytest
from routerd_routing_static import plugin
from routerd_routing_static.config import StaticOptions
from routerd_routing_static.routing import INTERVAL, StaticRouting

from routerd.model.route import RouteSet
from routerd.model.session import Advertisement
from routerd.spi import Provider, Routing
from routerd.testing.clock import FakeClock
from routerd.testing.context import RecordingLogger, make_context
from routerd.testing.contracts import PluginContract, RoutingContract, Samples

ONE, TWO = IPv4Network("10.80.1.20/32"), IPv4Network("10.80.1.21/32")


class TestPlugin(PluginContract):
    name: ClassVar[str] = "routing_static"


class TestRouting(RoutingContract):
    @pytest.fixture
    def provider(self) -> Provider[Routing]:
        return plugin.routerd_routings()[0]

    @pytest.fixture
    def options(self, tmp_path: Path) -> StaticOptions:
        (tmp_path / "routes.txt").write_text(f"{ONE} via 192.0.2.1\n")
        return StaticOptions(file=tmp_path / "routes.txt")

    @pytest.fixture
    def samples(self) -> Mapping[str, Samples[Any, Any]]:
        values = {prefix: Advertisement(owner="BGPRouter/a") for prefix in (ONE, TWO)}
        return {
            "advertisements": Samples(values=values, replacement={ONE: Advertisement(owner="BGPRouter/b")})
        }


class Reader:
    """The routing on a file, with a clock that the test moves."""

    def __init__(self, place: Path) -> None:
        self.clock = FakeClock()
        self.file = place / "routes.txt"
        self.log = RecordingLogger()
        context = make_context(place, clock=self.clock, log=self.log)
        made = StaticRouting(context, StaticOptions(file=self.file))
        self._stream: AsyncIterator[RouteSet] = made.learned()

    async def next(self) -> dict[str, str]:
        """Return the next set, moving the clock until it is there."""
        asked = asyncio.ensure_future(anext(self._stream))
        while not asked.done():
            await asyncio.sleep(0)
            await self.clock.advance(INTERVAL)
        return {str(route.prefix): str(route.next_hop) for route in asked.result().routes}


async def test_a_new_line_is_a_new_set_and_a_line_that_goes_too(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    assert await reader.next() == {}
    reader.file.write_text(f"# by hand\n{ONE} via 192.0.2.1\n\n{TWO} via 192.0.2.2  # up\n")
    assert await reader.next() == {str(ONE): "192.0.2.1", str(TWO): "192.0.2.2"}
    reader.file.write_text(f"{TWO} via 192.0.2.2\n")
    assert await reader.next() == {str(TWO): "192.0.2.2"}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("10.80.1.21/32 192.0.2.2", "line 2: write PREFIX via NEXTHOP"),
        ("10.80.1.21/33 via 192.0.2.2", "line 2: "),
        ("10.80.1.20/24 via 192.0.2.2", "line 2: "),
        (f"{ONE} via 192.0.2.2", "line 2: 10.80.1.20/32 has a route already"),
    ],
)
async def test_a_line_that_cannot_be_read_is_named_and_what_was_good_stays(
    tmp_path: Path, line: str, why: str
) -> None:
    reader = Reader(tmp_path)
    reader.file.write_text(f"{ONE} via 192.0.2.1\n")
    assert await reader.next() == {str(ONE): "192.0.2.1"}
    reader.file.write_text(f"{ONE} via 192.0.2.1\n{line}\n")
    waiting = asyncio.ensure_future(reader.next())
    while why not in reader.log.text():  # noqa: ASYNC110 - a log has no event to wait for
        await asyncio.sleep(0)
    assert not waiting.done()
    reader.file.write_text(f"{ONE} via 192.0.2.3\n")
    assert await waiting == {str(ONE): "192.0.2.3"}
