"""The real parts of the test kit are those that the daemon gives to a provider."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from tests.support.waiting import until_async

from routerd.model.names import LinkName
from routerd.testing.live import live_context, real_clock


async def test_the_real_kernel_shows_the_links_of_this_namespace(tmp_path: Path) -> None:
    links = await live_context(tmp_path).kernel.links()
    assert links[LinkName("lo")].index == 1
    assert set(map(str, links)) == {path.name for path in Path("/sys/class/net").iterdir() if path.is_dir()}


async def test_the_real_clock_moves_by_itself() -> None:
    clock = real_clock()
    before = clock.monotonic()
    await until_async(lambda: clock.monotonic() > before)
    assert clock.now().utcoffset() == timedelta()


async def test_a_dry_run_is_asked_for(tmp_path: Path) -> None:
    assert live_context(tmp_path, read_only=True).read_only
    assert not live_context(tmp_path).read_only
